"""Fault 5: nothing outside the media root is ever opened, whatever a post calls its picture."""

import os
import socket
import sys
from itertools import product
from pathlib import Path

import pytest

from gen_msa.media import PictureLimits, PictureProblem, admit
from gen_msa.types import Media

LIMITS = PictureLimits()
_watch: list[str] | None = None


def _on_audit(event: str, args: tuple) -> None:
    if _watch is not None and event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        _watch.append(os.fsdecode(args[0]))


sys.addaudithook(_on_audit)


@pytest.fixture
def world(tmp_path, make):
    """A media root with good, linked and special files, and a picture outside it."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "img").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.png").write_bytes(make())
    (root / "img" / "good.png").write_bytes(make())
    (root / "alias.png").symlink_to("img/good.png")
    (root / "escape.png").symlink_to(outside / "secret.png")
    (root / "relative.png").symlink_to("../outside/secret.png")
    (root / "chain.png").symlink_to("escape.png")
    (root / "away").symlink_to(outside, target_is_directory=True)
    (root / "up").symlink_to("..", target_is_directory=True)
    (root / "loop.png").symlink_to("loop.png")
    (root / "null.png").symlink_to("/dev/null")
    os.mkfifo(root / "pipe.png")
    return root, outside


def _vectors(outside: Path) -> list[str]:
    secret = str(outside / "secret.png")
    targets = ["outside/secret.png", "etc/passwd", "proc/self/environ"]
    ups = ["../" * n for n in range(1, 9)] + ["..\\" * n for n in range(1, 4)]
    ups += ["./../", "img/../../", "img/./../../", "//../", "/../", "img//..//..//", "x/../../"]
    ups += [".//../", "img\\..\\..\\", "up/", "up/../", "away/../", "up/up/"]
    found = [u + t for u, t in product(ups, targets)]
    absolute = [secret, "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", "//etc/passwd"]
    absolute += [a.replace("/", "\\") for a in absolute]
    found += absolute
    schemes = ["file:", "file://", "file:///", "FILE://", "File:/", " file://", "file://localhost"]
    found += [s + a for s, a in product(schemes, [secret, "/etc/passwd", "etc/passwd"])]
    drives = ["C:", "c:\\", "C:/", "Z:\\", "\\\\?\\C:\\", "\\\\.\\"]
    found += [d + t for d, t in product(drives, ["boot.ini", "outside\\secret.png"])]
    shares = ["\\\\server\\share\\", "//server/share/", "\\\\127.0.0.1\\c$\\", "\\\\?\\UNC\\s\\x\\"]
    found += [s + "a.png" for s in shares]
    nul = ["\0", "img/good.png\0", "img/good.png\0.jpg", f"\0{secret}", f"{secret}\0", "img\0/x"]
    found += nul
    found += ["escape.png", "relative.png", "chain.png", "away/secret.png", "up/outside/secret.png"]
    found += ["loop.png", "loop.png/x", "null.png", "pipe.png", "img", ".", "img/", "./img/."]
    found += ["~/secret.png", "~root/x", "$HOME/x", "%2e%2e/outside/secret.png", "..%2foutside"]
    found += ["img/good.png/../../../outside/secret.png", "a" * 5000, "a/" * 3000, "a/./" * 99]
    for scheme in ["http", "https", "ftp", "s3", "smb", "gopher", "HTTP", "jar", "php", "unix"]:
        found += [f"{scheme}://127.0.0.1/x.png", f"{scheme}://localhost{secret}"]
    found += ["data:,x", "data:text/html;base64,AAAA", "data:image/png,AAAA", f"data:{secret}"]
    shapes = ["{}/", "{}/.", "./{}", "{}//", "{}/x.png", ".//{}", "img/../{}", "{}\\x.png"]
    found += [
        shape.format(name) for shape in shapes for name in ("escape.png", "away", "null.png", "up")
    ]
    return list(dict.fromkeys(found))


def test_200_vectors_open_nothing_outside_the_root(world):
    global _watch
    root, outside = world
    vectors = _vectors(outside)
    assert len(vectors) >= 200
    for warm in ("img/good.png", "away"):  # so that Pillow's own modules are already imported
        _try(warm, root)
    _watch = []
    try:
        assert _try("img/good.png", root) is None
        assert [Path(p).name for p in _watch] == ["good.png"], "the hook must see what is opened"
        admitted = [v for v in vectors if _try(v, root) is None]
        opened = list(_watch)
    finally:
        _watch = None
    beyond = [p for p in opened if not Path(os.path.realpath(p)).is_relative_to(root.resolve())]
    assert beyond == []
    assert admitted == []


def _try(path: str, root: Path) -> str | None:
    """The kind of problem, or None when the picture was admitted."""
    try:
        admit(Media(kind="image", path=path), root, LIMITS)
    except PictureProblem as e:
        return e.kind
    return None


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("nowhere.png", "missing"),
        ("img/good.png/x", "missing"),
        ("/etc/passwd", "outside_root"),
        ("../outside/secret.png", "outside_root"),
        ("escape.png", "outside_root"),
        ("file:///etc/passwd", "outside_root"),
        ("\\\\server\\share\\a.png", "outside_root"),
        ("img/good.png\0", "outside_root"),
        ("img", "not_a_picture"),
        ("pipe.png", "not_a_picture"),
        ("loop.png", "not_a_picture"),
        ("ftp://127.0.0.1/a.png", "url_refused"),
    ],
)
def test_each_refusal_says_its_kind_the_file_and_the_mend(world, path, kind):
    with pytest.raises(PictureProblem) as caught:
        admit(Media(kind="image", path=path), world[0], LIMITS)
    assert caught.value.kind == kind
    assert caught.value.path == path
    assert caught.value.mend in str(caught.value)
    assert "\0" not in str(caught.value)
    assert path.strip("\0") in str(caught.value)


def test_a_link_that_stays_inside_is_followed_to_the_real_file(world):
    root, _ = world
    picture = admit(Media(kind="image", path="alias.png"), root, LIMITS)
    assert picture.path == str((root / "img" / "good.png").resolve())


def test_a_root_that_is_itself_a_link_is_a_good_root(world, tmp_path):
    (tmp_path / "link").symlink_to(world[0], target_is_directory=True)
    assert admit(Media(kind="image", path="img/good.png"), tmp_path / "link", LIMITS).sha256


def test_a_socket_is_not_opened(world):
    with socket.socket(socket.AF_UNIX) as s:
        here = Path.cwd()
        os.chdir(world[0])  # a socket's name has at most 107 bytes
        try:
            s.bind("talk.png")
        finally:
            os.chdir(here)
        assert _try("talk.png", world[0]) == "not_a_picture"


def test_other_kinds_of_media_are_unsupported(world):
    with pytest.raises(PictureProblem, match="audio"):
        admit(Media(kind="audio", path="img/good.png"), world[0], LIMITS)
