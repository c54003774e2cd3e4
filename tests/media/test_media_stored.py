"""Pictures that came by URL lie below the root and stay under the rules."""

import base64
import hashlib

import pytest

from gen_msa.media import PictureLimits, PictureProblem, admit, load
from gen_msa.types import Media


def test_a_data_url_is_stored_below_the_root_and_found_again(tmp_path, make):
    url = "data:image/png;base64," + base64.b64encode(make()).decode()
    first = admit(Media(kind="image", path=url), tmp_path, PictureLimits())
    again = admit(Media(kind="image", path=url), tmp_path, PictureLimits())
    assert first == again
    assert [f.parent.name for f in tmp_path.rglob("*") if f.is_file()] == [".fetched"]
    assert load(first).size == (64, 48)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("data:image/png;base64,%%%", "corrupt"),
        ("data:image/png;base64,AAAA", "not_a_picture"),
        ("data:text/html;base64,AAAA", "url_refused"),
        ("data:image/png;base64," + "A" * 4000, "too_large"),
    ],
)
def test_a_bad_data_url_is_refused_and_leaves_nothing(tmp_path, url, kind):
    with pytest.raises(PictureProblem) as caught:
        admit(Media(kind="image", path=url), tmp_path, PictureLimits(max_bytes=1000))
    assert caught.value.kind == kind
    assert list(tmp_path.iterdir()) == []


def test_a_stored_picture_is_refused_once_its_host_is_no_longer_allowed(tmp_path, make):
    url = "http://a.example/x.png"
    (tmp_path / ".fetched").mkdir()
    (tmp_path / ".fetched" / hashlib.sha256(url.encode()).hexdigest()).write_bytes(make())
    media = Media(kind="image", path=url)
    assert admit(media, tmp_path, PictureLimits(allowed_hosts=("a.example",))).max_pixels == 200_704
    with pytest.raises(PictureProblem, match="not among"):
        admit(media, tmp_path, PictureLimits(allowed_hosts=("b.example",)))


def test_a_store_that_leads_out_of_the_root_is_not_written_to(tmp_path, make):
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    (root / ".fetched").symlink_to(out)
    url = "data:image/png;base64," + base64.b64encode(make()).decode()
    with pytest.raises(PictureProblem, match="leads out"):
        admit(Media(kind="image", path=url), root, PictureLimits())
    assert list(out.iterdir()) == []
