"""What is admitted becomes an upright RGB picture within its budget, and says what was changed."""

import base64
import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from gen_msa.media import PictureLimits, PictureProblem, admit, data_url, load, notes
from gen_msa.media.pictures import target
from gen_msa.types import Media

LIMITS = PictureLimits()


@pytest.fixture
def gate(tmp_path):
    """gate(bytes) writes a file and admits it."""

    def _gate(data: bytes, limits: PictureLimits = LIMITS, name: str = "a.img"):
        (tmp_path / name).write_bytes(data)
        return admit(Media(kind="image", path=name), tmp_path, limits)

    return _gate


def _saved(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_every_format_and_mode_becomes_rgb(gate, make, format, mode):
    if (format, mode) in {("JPEG", "P"), ("WEBP", "1")}:
        mode = "RGB"  # the format has no such mode
    image = load(gate(make(format, (64, 48), mode)))
    assert (image.mode, image.size) == ("RGB", (64, 48))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_large_picture_is_shrunk_to_the_budget_and_keeps_its_shape(gate, make, format):
    image = load(gate(make(format, (2000, 1000))))
    assert image.width * image.height <= LIMITS.max_pixels
    assert image.width * image.height > 0.98 * LIMITS.max_pixels
    assert image.width / image.height == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_shrinking_keeps_what_is_to_be_seen_where_it_was(gate, format):
    drawn = Image.new("RGB", (3000, 2000), "white")
    ImageDraw.Draw(drawn).rectangle((1500, 0, 2999, 999), fill="red")
    image = load(gate(_saved(drawn, format)))
    w, h = image.size
    corners = [
        (w // 4, h // 4),
        (3 * w // 4, h // 4),
        (w // 4, 3 * h // 4),
        (3 * w // 4, 3 * h // 4),
    ]
    red = [image.getpixel(at)[1] < 60 for at in corners]
    assert red == [False, True, False, False]


def test_a_small_picture_is_never_enlarged(gate, make):
    assert load(gate(make("PNG", (20, 10)))).size == (20, 10)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 10**6))
def test_the_target_fits_the_budget_and_never_grows(wide, high, budget):
    w, h = target(wide, high, budget)
    assert 1 <= w <= wide
    assert 1 <= h <= high
    assert w * h <= budget


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(gate, orientation):
    from PIL import ImageOps

    drawn = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(drawn).rectangle((0, 0, 29, 9), fill="red")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _saved(drawn, "PNG", exif=exif)
    picture = gate(data)
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert load(picture).tobytes() == wanted.tobytes()
    assert notes(picture) == ({} if orientation == 1 else {"rotation": "exif rotated"})


def test_cmyk_is_converted_and_noted(gate):
    picture = gate(_saved(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = load(picture).getpixel((20, 20))
    assert red > 200
    assert max(green, blue) < 60
    assert notes(picture) == {"colour": "cmyk converted"}


def test_alpha_is_laid_on_white_and_noted(gate):
    picture = gate(_saved(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "PNG"))
    assert load(picture).getpixel((5, 5)) == (255, 255, 255)
    assert notes(picture) == {"alpha": "alpha on white"}


def test_alpha_that_hides_nothing_is_not_noted(gate, make):
    assert notes(gate(make("PNG", mode="RGBA"))) == {}


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_shown_and_noted(gate, format):
    frames = [Image.new("RGB", (40, 40), (20 * n, 255 - 20 * n, 0)) for n in range(12)]
    data = _saved(frames[0], format, save_all=True, append_images=frames[1:])
    picture = gate(data)
    assert notes(picture) == {"frames": "animated: first of 12 frames"}
    assert load(picture).getpixel((20, 20))[1] > 240


def test_sixteen_bits_are_scaled_and_not_clipped_to_white(gate):
    ramp = Image.frombytes(
        "I;16", (256, 16), bytes(b for _ in range(16) for n in range(256) for b in (0, n))
    )
    picture = gate(_saved(ramp, "PNG"))
    assert [load(picture).getpixel((x, 8))[0] for x in (0, 100, 255)] == [0, 100, 255]
    assert notes(picture) == {"colour": "16 bits scaled to 8"}


def test_floating_point_pixels_are_unsupported(gate):
    with pytest.raises(PictureProblem, match="8-bit") as caught:
        gate(_saved(Image.new("F", (40, 40), 0.5), "TIFF"))
    assert caught.value.kind == "unsupported"


def test_the_data_url_is_the_loaded_picture(gate, make):
    picture = gate(make("PNG", (900, 900)))
    head, _, body = data_url(picture).partition(",")
    shown = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == "data:image/jpeg;base64"
    assert shown.size == load(picture).size


def test_what_a_caller_draws_on_his_copy_stays_there(gate, make):
    picture = gate(make())
    before = load(picture).tobytes()
    load(picture).paste("red", (0, 0, 64, 48))
    assert load(picture).tobytes() == before


def test_a_problem_survives_the_way_between_processes():
    problem = PictureProblem("corrupt", "a.jpg", "why", "how")
    assert str(pickle.loads(pickle.dumps(problem))) == str(problem)
