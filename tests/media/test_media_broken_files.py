"""Broken files are rejected, and the cache distinguishes similar images."""

import io
import random
from pathlib import Path

import pytest
from PIL import Image

from gen_msa.media import ImageError, ImageLimits, load_image, open_image
from gen_msa.media.admission import cache
from gen_msa.types import Media

LIMITS = ImageLimits()
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")


def _open(root: Path, name: str, limits: ImageLimits = LIMITS):
    return open_image(Media(kind="image", path=name), root, limits)


def _damage(encoded: bytes, rng: random.Random) -> bytes:
    """Damage a file in one of the ways downloads fail; none leaves a complete image."""
    cut = rng.randrange(len(encoded) * 9 // 10)
    return rng.choice(
        [
            encoded[:cut],
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
            encoded[:cut] + b"<html>connection reset</html>" if cut < 8 else encoded[:cut],
            bytes(len(encoded)),
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            rng.randbytes(len(encoded)),
            encoded[16:],
        ]
    )


def test_broken_files_of_five_formats_are_all_rejected(tmp_path, make):
    rng = random.Random(3)
    encoded_images = [make(f, (48, 40)) for f in FORMATS]
    error_kinds = []
    for n in range(2000):
        (tmp_path / f"{n}.jpg").write_bytes(_damage(encoded_images[n % 5], rng))
        try:
            _open(tmp_path, f"{n}.jpg")
        except ImageError as e:
            error_kinds.append(e.kind)
    assert len(error_kinds) == 2000
    assert set(error_kinds) <= {"corrupt", "not_an_image", "too_small", "too_large", "unsupported"}


def test_corrupted_bytes_raise_only_image_error(tmp_path, make):
    rng = random.Random(4)
    encoded_images = [make(f, (48, 40)) for f in FORMATS]
    n_rejected = n_decoded = 0
    for n in range(2000):
        data = bytearray(encoded_images[n % 5])
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / f"{n}.png").write_bytes(data)
        try:
            image = load_image(_open(tmp_path, f"{n}.png"))
        except ImageError:
            n_rejected += 1
        else:
            n_decoded += image.width * image.height <= LIMITS.max_pixels
    assert n_rejected + n_decoded == 2000
    assert n_rejected > 500


@pytest.mark.parametrize("format", [*FORMATS, "TIFF"])
def test_truncated_image_is_corrupt(tmp_path, make, format):
    encoded = make(format, (200, 160))
    for share in (0.2, 0.5, 0.9):
        (tmp_path / "cut").write_bytes(encoded[: int(len(encoded) * share)])
        with pytest.raises(ImageError) as error:
            _open(tmp_path, "cut")
        assert error.value.kind == "corrupt"


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"<html><body>Not found</body></html>", "not_an_image", "web page"),
        (b"\n <!DOCTYPE html>", "not_an_image", "web page"),
        (b"hello", "not_an_image", "begins like this"),
        (b"", "corrupt", "empty"),
        (b"\xff\xd8\xff\xe0\x00", "corrupt", "header"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "unsupported", "HEIC"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "unsupported", "SVG"),
        (b"%PDF-1.7", "unsupported", "PDF"),
    ],
)
def test_non_image_file_is_rejected_by_kind(tmp_path, data, kind, message):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=message) as error:
        _open(tmp_path, "a.jpg")
    assert error.value.kind == kind


def test_file_over_the_byte_limit_is_rejected_unread(tmp_path, make):
    (tmp_path / "a.png").write_bytes(make())
    with pytest.raises(ImageError, match="over the limit of 100 bytes"):
        _open(tmp_path, "a.png", ImageLimits(max_bytes=100))


def _hits_between(root: Path, first: bytes, second: bytes, names=("a.png", "b.png")):
    """Return the cache hits of opening a second image after a first, and both images."""
    (root / names[0]).write_bytes(first)
    first_image = _open(root, names[0])
    (root / names[1]).write_bytes(second)
    hits_before = cache.hits
    second_image = _open(root, names[1])
    return cache.hits - hits_before, first_image, second_image


def test_cache_key_includes_the_image_shape(tmp_path):
    flat = bytes(range(256)) * 36
    out = [io.BytesIO(), io.BytesIO()]
    Image.frombytes("RGB", (30, 100), flat[:9000]).save(out[0], "PNG")
    Image.frombytes("RGB", (100, 30), flat[:9000]).save(out[1], "PNG")
    hits, first_image, second_image = _hits_between(tmp_path, out[0].getvalue(), out[1].getvalue())
    assert hits == 0
    assert (load_image(first_image).size, load_image(second_image).size) == ((30, 100), (100, 30))


def test_cache_key_includes_the_palette(tmp_path):
    encoded_images = []
    for palette in ((255, 0, 0), (0, 0, 255)):
        image = Image.new("P", (40, 40), 0)
        image.putpalette(palette)
        out = io.BytesIO()
        image.save(out, "PNG")
        encoded_images.append(out.getvalue())
    hits, first_image, second_image = _hits_between(tmp_path, *encoded_images)
    assert hits == 0
    assert load_image(first_image).getpixel((0, 0)) == (255, 0, 0)
    assert load_image(second_image).getpixel((0, 0)) == (0, 0, 255)


def test_changed_file_misses_cache_and_old_image_is_rejected(tmp_path, make):
    hits, old, new = _hits_between(tmp_path, make(), make(), ("a.png", "a.png"))
    assert hits == 0
    assert old.sha256 != new.sha256
    assert load_image(new).size == (64, 48)
    with pytest.raises(ImageError, match="changed"):
        load_image(old)


def test_cache_key_includes_the_pixel_budget(tmp_path, make):
    (tmp_path / "a.png").write_bytes(make())
    _open(tmp_path, "a.png")
    hits_before = cache.hits
    small_image = _open(tmp_path, "a.png", ImageLimits(max_pixels=100))
    assert cache.hits == hits_before
    assert load_image(small_image).width * load_image(small_image).height <= 100
    assert cache.hits == hits_before + 2


def test_limits_are_checked_on_cached_pixels(tmp_path, make):
    (tmp_path / "a.png").write_bytes(make())
    _open(tmp_path, "a.png")
    with pytest.raises(ImageError) as error:
        _open(tmp_path, "a.png", ImageLimits(min_side=60))
    assert error.value.kind == "too_small"


def test_cache_stays_within_max_bytes(tmp_path, make, monkeypatch):
    monkeypatch.setattr(cache, "max_bytes", 4 * 100 * 100 * 4)
    for n in range(9):
        (tmp_path / f"{n}.bmp").write_bytes(make("BMP", (100, 100)))
        _open(tmp_path, f"{n}.bmp")
    hits_before = cache.hits
    for n in range(9):
        _open(tmp_path, f"{8 - n}.bmp")
    assert cache.hits - hits_before == 4
    assert cache._total_bytes <= cache.max_bytes
