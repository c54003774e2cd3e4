"""Fault 5: nothing outside the media root is ever opened, whatever a post calls its picture."""

import os
import socket
from pathlib import Path

import pytest

from gen_msa.media import PictureLimits, PictureProblem, admit
from gen_msa.types import Media
from tests.fixtures.paths import linked, opened, vectors

LIMITS = PictureLimits()


@pytest.fixture
def world(tmp_path, make):
    """A media root with good, linked and special files, and a picture outside it."""
    return linked(tmp_path, make())


def test_200_vectors_open_nothing_outside_the_root(world):
    root, outside = world
    names = vectors(outside)
    assert len(names) >= 200
    for warm in ("img/good.png", "away"):  # so that Pillow's own modules are already imported
        _try(warm, root)
    with opened() as found:
        assert _try("img/good.png", root) is None
        assert [Path(p).name for p in found] == ["good.png"], "the hook must see what is opened"
        admitted = [v for v in names if _try(v, root) is None]
    beyond = [p for p in found if not Path(os.path.realpath(p)).is_relative_to(root.resolve())]
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
