"""Faults 3 and 22: broken files, and pictures that must not be taken for one another."""

import io
import random
from pathlib import Path

import pytest
from PIL import Image

from gen_msa.media import PictureLimits, PictureProblem, admit, load
from gen_msa.media._gate import cache
from gen_msa.types import Media

LIMITS = PictureLimits()
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")


def _admit(root: Path, name: str, limits: PictureLimits = LIMITS):
    return admit(Media(kind="image", path=name), root, limits)


def _breakages(whole: bytes, rng: random.Random) -> bytes:
    """One of the ways downloads go wrong; none leaves a whole picture."""
    cut = rng.randrange(len(whole) * 9 // 10)
    return rng.choice(
        [
            whole[:cut],
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
            whole[:cut] + b"<html>connection reset</html>" if cut < 8 else whole[:cut],
            bytes(len(whole)),
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            rng.randbytes(len(whole)),
            whole[16:],
        ]
    )


def test_2000_broken_files_of_five_formats_are_all_listed(tmp_path, make):
    rng = random.Random(3)
    wholes = [make(f, (48, 40)) for f in FORMATS]
    listed = []
    for n in range(2000):
        (tmp_path / f"{n}.jpg").write_bytes(_breakages(wholes[n % 5], rng))
        try:
            _admit(tmp_path, f"{n}.jpg")
        except PictureProblem as e:
            listed.append(e.kind)
    assert len(listed) == 2000
    assert set(listed) <= {"corrupt", "not_a_picture", "too_small", "too_large", "unsupported"}


def test_2000_flipped_files_are_listed_or_whole_and_nothing_else_is_raised(tmp_path, make):
    rng = random.Random(4)
    wholes = [make(f, (48, 40)) for f in FORMATS]
    listed = shown = 0
    for n in range(2000):
        data = bytearray(wholes[n % 5])
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / f"{n}.png").write_bytes(data)
        try:
            image = load(_admit(tmp_path, f"{n}.png"))
        except PictureProblem:
            listed += 1
        else:
            shown += image.width * image.height <= LIMITS.max_pixels
    assert listed + shown == 2000
    assert listed > 500


@pytest.mark.parametrize("format", [*FORMATS, "TIFF"])
def test_a_truncated_picture_is_corrupt_and_never_half_blank(tmp_path, make, format):
    whole = make(format, (200, 160))
    for part in (0.2, 0.5, 0.9):
        (tmp_path / "cut").write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(PictureProblem) as caught:
            _admit(tmp_path, "cut")
        assert caught.value.kind == "corrupt"


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"<html><body>Not found</body></html>", "not_a_picture", "web page"),
        (b"\n <!DOCTYPE html>", "not_a_picture", "web page"),
        (b"hello", "not_a_picture", "begins like this"),
        (b"", "corrupt", "empty"),
        (b"\xff\xd8\xff\xe0\x00", "corrupt", "header"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "unsupported", "HEIC"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "unsupported", "SVG"),
        (b"%PDF-1.7", "unsupported", "PDF"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, data, kind, says):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(PictureProblem, match=says) as caught:
        _admit(tmp_path, "a.jpg")
    assert caught.value.kind == kind


def test_a_file_over_the_byte_limit_is_refused_unread(tmp_path, make):
    (tmp_path / "a.png").write_bytes(make())
    with pytest.raises(PictureProblem, match="over the limit of 100 bytes"):
        _admit(tmp_path, "a.png", PictureLimits(max_bytes=100))


def _hits_between(root: Path, first: bytes, second: bytes, names=("a.png", "b.png")):
    """Cache hits while a second picture is admitted after a first, and both pictures."""
    (root / names[0]).write_bytes(first)
    one = _admit(root, names[0])
    (root / names[1]).write_bytes(second)
    before = cache.hits
    two = _admit(root, names[1])
    return cache.hits - before, one, two


def test_the_same_bytes_of_pixels_in_another_shape_do_not_hit(tmp_path):
    flat = bytes(range(256)) * 36
    out = [io.BytesIO(), io.BytesIO()]
    Image.frombytes("RGB", (30, 100), flat[:9000]).save(out[0], "PNG")
    Image.frombytes("RGB", (100, 30), flat[:9000]).save(out[1], "PNG")
    hits, one, two = _hits_between(tmp_path, out[0].getvalue(), out[1].getvalue())
    assert hits == 0
    assert (load(one).size, load(two).size) == ((30, 100), (100, 30))


def test_the_same_indices_under_another_palette_do_not_hit(tmp_path):
    datas = []
    for palette in ((255, 0, 0), (0, 0, 255)):
        image = Image.new("P", (40, 40), 0)
        image.putpalette(palette)
        out = io.BytesIO()
        image.save(out, "PNG")
        datas.append(out.getvalue())
    hits, one, two = _hits_between(tmp_path, *datas)
    assert hits == 0
    assert load(one).getpixel((0, 0)) == (255, 0, 0)
    assert load(two).getpixel((0, 0)) == (0, 0, 255)


def test_new_bytes_under_the_same_path_do_not_hit_and_the_old_picture_is_refused(tmp_path, make):
    hits, old, new = _hits_between(tmp_path, make(), make(), ("a.png", "a.png"))
    assert hits == 0
    assert old.sha256 != new.sha256
    assert load(new).size == (64, 48)
    with pytest.raises(PictureProblem, match="changed"):
        load(old)


def test_another_budget_does_not_hit_and_the_same_picture_does(tmp_path, make):
    (tmp_path / "a.png").write_bytes(make())
    _admit(tmp_path, "a.png")
    before = cache.hits
    small = _admit(tmp_path, "a.png", PictureLimits(max_pixels=100))
    assert cache.hits == before
    assert load(small).width * load(small).height <= 100
    assert cache.hits == before + 2


def test_limits_are_judged_anew_when_the_pixels_are_already_known(tmp_path, make):
    (tmp_path / "a.png").write_bytes(make())
    _admit(tmp_path, "a.png")
    with pytest.raises(PictureProblem) as caught:
        _admit(tmp_path, "a.png", PictureLimits(min_side=60))
    assert caught.value.kind == "too_small"


def test_the_cache_stays_within_its_room(tmp_path, make, monkeypatch):
    monkeypatch.setattr(cache, "room", 4 * 100 * 100 * 4)
    for n in range(9):
        (tmp_path / f"{n}.bmp").write_bytes(make("BMP", (100, 100)))
        _admit(tmp_path, f"{n}.bmp")
    before = cache.hits
    for n in range(9):
        _admit(tmp_path, f"{8 - n}.bmp")
    assert cache.hits - before == 4
    assert cache._bytes <= cache.room
