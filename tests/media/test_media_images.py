"""Decoded images are upright, RGB and within budget, and note every conversion."""

import base64
import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from gen_msa.media import (
    ImageError,
    ImageLimits,
    conversion_notes,
    data_url,
    load_image,
    open_image,
)
from gen_msa.media.images import fit_size
from gen_msa.types import Media

LIMITS = ImageLimits()


@pytest.fixture
def open_bytes(tmp_path):
    """Return a function that writes bytes to a file and opens it as an image."""

    def _open_bytes(data: bytes, limits: ImageLimits = LIMITS, name: str = "a.img"):
        (tmp_path / name).write_bytes(data)
        return open_image(Media(kind="image", path=name), tmp_path, limits)

    return _open_bytes


def _encode(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_every_format_and_mode_becomes_rgb(open_bytes, make, format, mode):
    if (format, mode) in {("JPEG", "P"), ("WEBP", "1")}:
        mode = "RGB"  # the format has no such mode
    image = load_image(open_bytes(make(format, (64, 48), mode)))
    assert (image.mode, image.size) == ("RGB", (64, 48))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_large_image_is_shrunk_to_the_budget_and_keeps_its_ratio(open_bytes, make, format):
    image = load_image(open_bytes(make(format, (2000, 1000))))
    assert image.width * image.height <= LIMITS.max_pixels
    assert image.width * image.height > 0.98 * LIMITS.max_pixels
    assert image.width / image.height == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_shrinking_keeps_content_in_place(open_bytes, format):
    drawing = Image.new("RGB", (3000, 2000), "white")
    ImageDraw.Draw(drawing).rectangle((1500, 0, 2999, 999), fill="red")
    image = load_image(open_bytes(_encode(drawing, format)))
    w, h = image.size
    corners = [
        (w // 4, h // 4),
        (3 * w // 4, h // 4),
        (w // 4, 3 * h // 4),
        (3 * w // 4, 3 * h // 4),
    ]
    is_red = [image.getpixel(corner)[1] < 60 for corner in corners]
    assert is_red == [False, True, False, False]


def test_small_image_is_never_enlarged(open_bytes, make):
    assert load_image(open_bytes(make("PNG", (20, 10)))).size == (20, 10)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 10**6))
def test_fit_size_fits_the_budget_and_never_grows(width, height, budget):
    w, h = fit_size(width, height, budget)
    assert 1 <= w <= width
    assert 1 <= h <= height
    assert w * h <= budget


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_matches_pillow(open_bytes, orientation):
    from PIL import ImageOps

    drawing = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(drawing).rectangle((0, 0, 29, 9), fill="red")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encode(drawing, "PNG", exif=exif)
    image_input = open_bytes(data)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert load_image(image_input).tobytes() == expected.tobytes()
    assert conversion_notes(image_input) == (
        {} if orientation == 1 else {"rotation": "exif rotated"}
    )


def test_cmyk_is_converted_and_noted(open_bytes):
    image_input = open_bytes(_encode(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = load_image(image_input).getpixel((20, 20))
    assert red > 200
    assert max(green, blue) < 60
    assert conversion_notes(image_input) == {"colour": "cmyk converted"}


def test_alpha_is_composited_on_white_and_noted(open_bytes):
    image_input = open_bytes(_encode(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "PNG"))
    assert load_image(image_input).getpixel((5, 5)) == (255, 255, 255)
    assert conversion_notes(image_input) == {"alpha": "alpha on white"}


def test_opaque_alpha_is_not_noted(open_bytes, make):
    assert conversion_notes(open_bytes(make("PNG", mode="RGBA"))) == {}


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation_is_used_and_noted(open_bytes, format):
    frames = [Image.new("RGB", (40, 40), (20 * n, 255 - 20 * n, 0)) for n in range(12)]
    data = _encode(frames[0], format, save_all=True, append_images=frames[1:])
    image_input = open_bytes(data)
    assert conversion_notes(image_input) == {"frames": "animated: first of 12 frames"}
    assert load_image(image_input).getpixel((20, 20))[1] > 240


def test_sixteen_bits_are_scaled_not_clipped(open_bytes):
    ramp = Image.frombytes(
        "I;16", (256, 16), bytes(b for _ in range(16) for n in range(256) for b in (0, n))
    )
    image_input = open_bytes(_encode(ramp, "PNG"))
    assert [load_image(image_input).getpixel((x, 8))[0] for x in (0, 100, 255)] == [0, 100, 255]
    assert conversion_notes(image_input) == {"colour": "16 bits scaled to 8"}


def test_floating_point_pixels_are_unsupported(open_bytes):
    with pytest.raises(ImageError, match="8-bit") as error:
        open_bytes(_encode(Image.new("F", (40, 40), 0.5), "TIFF"))
    assert error.value.kind == "unsupported"


def test_data_url_holds_the_loaded_image(open_bytes, make):
    image_input = open_bytes(make("PNG", (900, 900)))
    head, _, body = data_url(image_input).partition(",")
    decoded = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == "data:image/jpeg;base64"
    assert decoded.size == load_image(image_input).size


def test_loaded_image_is_a_copy(open_bytes, make):
    image_input = open_bytes(make())
    before = load_image(image_input).tobytes()
    load_image(image_input).paste("red", (0, 0, 64, 48))
    assert load_image(image_input).tobytes() == before


def test_image_error_survives_pickling():
    error = ImageError("corrupt", "a.jpg", "why", "how")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
