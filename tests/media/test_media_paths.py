"""Nothing outside the media root is ever opened, whatever path a post gives."""

import os
import socket
import unicodedata
from pathlib import Path

import pytest

from gen_msa.media import ImageError, ImageLimits, open_image
from gen_msa.types import Media
from tests.fixtures.path_traversal import make_media_root, record_opened_files, traversal_paths

LIMITS = ImageLimits()


@pytest.fixture
def media_tree(tmp_path, make):
    """A media root with good, linked and special files, and an image outside it."""
    return make_media_root(tmp_path, make())


def test_path_traversal_opens_nothing_outside_the_root(media_tree):
    root, outside = media_tree
    names = traversal_paths(outside)
    assert len(names) >= 200
    for warm_up_path in (
        "img/good.png",
        "away",
    ):  # so that Pillow's own modules are already imported
        _error_kind(warm_up_path, root)
    with record_opened_files() as opened_paths:
        assert _error_kind("img/good.png", root) is None
        assert [Path(p).name for p in opened_paths] == ["good.png"], (
            "the hook must see what is opened"
        )
        accepted = [v for v in names if _error_kind(v, root) is None]
    outside_paths = [
        p for p in opened_paths if not Path(os.path.realpath(p)).is_relative_to(root.resolve())
    ]
    assert outside_paths == []
    assert accepted == []


def _error_kind(path: str, root: Path) -> str | None:
    """Return the kind of error, or None when the image was accepted."""
    try:
        open_image(Media(kind="image", path=path), root, LIMITS)
    except ImageError as e:
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
        ("img", "not_an_image"),
        ("pipe.png", "not_an_image"),
        ("loop.png", "not_an_image"),
        ("ftp://127.0.0.1/a.png", "url_refused"),
    ],
)
def test_error_has_kind_path_and_hint(media_tree, path, kind):
    with pytest.raises(ImageError) as error:
        open_image(Media(kind="image", path=path), media_tree[0], LIMITS)
    assert error.value.kind == kind
    assert error.value.path == path
    assert error.value.hint in str(error.value)
    assert "\0" not in str(error.value)
    assert path.strip("\0") in str(error.value)


def test_link_inside_the_root_is_followed(media_tree):
    root, _ = media_tree
    image = open_image(Media(kind="image", path="alias.png"), root, LIMITS)
    assert image.path == str((root / "img" / "good.png").resolve())


def test_linked_root_is_accepted(media_tree, tmp_path):
    (tmp_path / "link").symlink_to(media_tree[0], target_is_directory=True)
    assert open_image(Media(kind="image", path="img/good.png"), tmp_path / "link", LIMITS).sha256


def test_socket_is_not_opened(media_tree):
    with socket.socket(socket.AF_UNIX) as s:
        previous_folder = Path.cwd()
        os.chdir(media_tree[0])  # a socket's name has at most 107 bytes
        try:
            s.bind("talk.png")
        finally:
            os.chdir(previous_folder)
        assert _error_kind("talk.png", media_tree[0]) == "not_an_image"


def test_other_kinds_of_media_are_unsupported(media_tree):
    with pytest.raises(ImageError, match="audio"):
        open_image(Media(kind="audio", path="img/good.png"), media_tree[0], LIMITS)


def test_absolute_path_below_the_root_is_accepted(media_tree):
    root, _ = media_tree
    path = str(root / "img" / "good.png")
    assert open_image(Media(kind="image", path=path), root, LIMITS).sha256


@pytest.mark.parametrize(("on_disk", "requested"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_name_in_another_unicode_composition_is_found(media_tree, on_disk, requested):
    root, _ = media_tree
    (root / "img" / "good.png").rename(root / "img" / unicodedata.normalize(on_disk, "café.png"))
    path = "img/" + unicodedata.normalize(requested, "café.png")
    assert _error_kind(path, root) is None


def test_absolute_path_elsewhere_is_refused_without_a_look(media_tree, monkeypatch):
    looked_up = []
    realpath = os.path.realpath

    def record(path, **options):
        looked_up.append(str(path))
        return realpath(path, **options)

    monkeypatch.setattr(os.path, "realpath", record)
    for path in ("/etc/passwd", "//server/share/a.png", "/etc/../etc/passwd"):
        assert _error_kind(path, media_tree[0]) == "outside_root"
    assert not [p for p in looked_up if p.startswith(("/etc", "//server"))]
