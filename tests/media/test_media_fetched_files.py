"""Fetched images are stored below the media root and obey the same limits."""

import base64
import hashlib

import pytest

from gen_msa.media import ImageError, ImageLimits, load_image, open_image
from gen_msa.types import Media


def test_data_url_is_stored_below_the_root_and_reused(tmp_path, make):
    url = "data:image/png;base64," + base64.b64encode(make()).decode()
    first = open_image(Media(kind="image", path=url), tmp_path, ImageLimits())
    second = open_image(Media(kind="image", path=url), tmp_path, ImageLimits())
    assert first == second
    assert [f.parent.name for f in tmp_path.rglob("*") if f.is_file()] == [".fetched"]
    assert load_image(first).size == (64, 48)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("data:image/png;base64,%%%", "corrupt"),
        ("data:image/png;base64,AAAA", "not_an_image"),
        ("data:text/html;base64,AAAA", "url_refused"),
        ("data:image/png;base64," + "A" * 4000, "too_large"),
    ],
)
def test_bad_data_url_is_rejected_and_leaves_nothing(tmp_path, url, kind):
    with pytest.raises(ImageError) as error:
        open_image(Media(kind="image", path=url), tmp_path, ImageLimits(max_bytes=1000))
    assert error.value.kind == kind
    assert list(tmp_path.iterdir()) == []


def test_stored_image_is_rejected_once_its_host_is_not_allowed(tmp_path, make):
    url = "http://a.example/x.png"
    (tmp_path / ".fetched").mkdir()
    (tmp_path / ".fetched" / hashlib.sha256(url.encode()).hexdigest()).write_bytes(make())
    media = Media(kind="image", path=url)
    assert (
        open_image(media, tmp_path, ImageLimits(allowed_hosts=("a.example",))).max_pixels == 200_704
    )
    with pytest.raises(ImageError, match="not among"):
        open_image(media, tmp_path, ImageLimits(allowed_hosts=("b.example",)))


def test_store_outside_the_root_is_not_written(tmp_path, make):
    root, outside = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    outside.mkdir()
    (root / ".fetched").symlink_to(outside)
    url = "data:image/png;base64," + base64.b64encode(make()).decode()
    with pytest.raises(ImageError, match="leads out"):
        open_image(Media(kind="image", path=url), root, ImageLimits())
    assert list(outside.iterdir()) == []
