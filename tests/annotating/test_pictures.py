"""Every kind of picture a post may carry, through a whole job: read, or refused by name."""

import json

import pytest
from PIL import Image

from gen_msa.annotating import JobSettings, annotate
from gen_msa.data import open_source
from tests.fixtures.posts import post, write_picture, write_posts


def draw_all(folder):
    """One picture of each kind; `missing.png` is left out."""
    write_picture(folder / "plain.png")
    Image.new("CMYK", (40, 30), (0, 90, 90, 0)).save(folder / "cmyk.jpg")
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 30), "green").save(folder / "rotated.jpg", exif=turned)
    write_picture(folder / "dot.png", size=(1, 1))
    Image.new("1", (9_000, 9_000)).save(folder / "huge.png")
    (folder / "corrupt.png").write_bytes((folder / "plain.png").read_bytes()[:60])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plain.png", {}),
        ("cmyk.jpg", {"colour"}),
        ("animated.gif", {"frames"}),
        ("rotated.jpg", {"rotation"}),
        ("dot.png", "too_small: dot.png"),
        ("huge.png", "too_large: huge.png"),
        ("corrupt.png", "corrupt: corrupt.png"),
        ("missing.png", "missing: missing.png"),
        ("../outside.png", "outside_root: ../outside.png"),
        ("https://example.org/a.png", "url_refused: https://example.org/a.png"),
    ],
)
def test_a_picture_is_shown_or_its_absence_is_said(tmp_path, name, said):
    draw_all(tmp_path)
    path = write_posts(tmp_path / "posts.jsonl", [post(0, pictures=[name])])
    out = tmp_path / "out.jsonl"
    settings = JobSettings(reader="echo", cues={})
    counts = annotate(open_source(str(path)), out, settings).counts
    assert counts.written == 1
    (row,) = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    how = row["opinions"][0]["how"]
    if isinstance(said, str):
        assert how["picture"] == f"{said}; read from text"
    else:
        assert "picture" not in how
        assert set(said) <= set(how)
