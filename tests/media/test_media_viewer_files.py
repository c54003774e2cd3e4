"""Images that a browser shows are read; of others the true reason stands in the error."""

import base64
import io
import struct
import zlib

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageStat, PngImagePlugin

from gen_msa.media import (
    ImageError,
    ImageLimits,
    conversion_notes,
    data_url,
    images,
    load_image,
    open_image,
)
from gen_msa.types import Media

from .conftest import encode

SIZE = (200, 160)


def photo(size=SIZE, mode="RGB"):
    """Smooth colours with a drawing, detailed down to the last row."""
    gradients = [Image.linear_gradient("L").resize(size).rotate(angle) for angle in (0, 90, 180)]
    image = Image.merge("RGB", gradients)
    noise = Image.effect_noise(size, 30).convert("RGB")
    image = Image.blend(image, noise, 0.3)
    ImageDraw.Draw(image).rectangle((20, 20, 60, 60), fill="red")
    return image.convert(mode)


PHOTO = photo()
JPEG, PNG = encode(PHOTO, "JPEG"), encode(PHOTO, "PNG")
SCAN = b"\xff\xda"
AVIF = encode(PHOTO, "AVIF")
PROGRESSIVE = encode(PHOTO, "JPEG", progressive=True)


def with_text(kind, text=b"x" * 3_000_000, crc_error=0):
    """A PNG with an ancillary chunk before its pixels."""
    body = b"key\0" + (b"\0" + zlib.compress(text) if kind == b"zTXt" else text)
    chunk = struct.pack(">I", len(body)) + kind + body
    return PNG[:33] + chunk + struct.pack(">I", zlib.crc32(kind + body) ^ crc_error) + PNG[33:]


def with_segment(marker, content):
    return JPEG[:2] + marker + struct.pack(">H", len(content) + 2) + content + JPEG[2:]


def ycck_jpeg():
    """A CMYK JPEG whose Adobe segment names its colours as YCCK."""
    data = encode(PHOTO.convert("CMYK"), "JPEG")
    offset = data.index(b"Adobe") + 11
    return data[:offset] + b"\2" + data[offset + 1 :]


def animation(format):
    others = [Image.new("RGB", SIZE, "blue")] * 2
    return encode(PHOTO, format, save_all=True, append_images=others, lossless=True)


def all_png_texts():
    info = PngImagePlugin.PngInfo()
    for n in range(100):
        info.add_text(f"k{n}", "x" * 900_000, zip=True)
    return encode(PHOTO, "PNG", pnginfo=info)


SHOWN = {
    "PNG with a large compressed text": lambda: with_text(b"zTXt"),
    "PNG with a large plain text": lambda: with_text(b"tEXt"),
    "PNG with a hundred large texts": all_png_texts,
    "PNG with a wrong checksum of a text": lambda: with_text(b"tEXt", b"x", 1),
    "PNG with a broken text": lambda: with_text(b"zTXt", b"")[:33] + with_text(b"iTXt", b"x")[33:],
    "PNG with a broken colour profile": lambda: encode(PHOTO, "PNG", icc_profile=b"junk"),
    "PNG with a broken EXIF block": lambda: encode(PHOTO, "PNG", exif=b"Exif\0\0junk-junk"),
    "PNG without its end": lambda: PNG[:-12],
    "PNG with bytes after its end": lambda: PNG + b"junk" * 99,
    "interlaced PNG": lambda: interlaced_png(),
    "JPEG with bytes after its end": lambda: JPEG + b"junk" * 99,
    "JPEG with a broken colour profile": lambda: encode(PHOTO, "JPEG", icc_profile=b"junk"),
    "JPEG with a broken EXIF block": lambda: encode(PHOTO, "JPEG", exif=b"Exif\0\0junk-junk"),
    "JPEG with a broken Photoshop block": lambda: with_segment(
        b"\xff\xed", b"Photoshop 3.0\x008BIM\x04"
    ),
    "JPEG with a broken index of pictures": lambda: with_segment(b"\xff\xe2", b"MPF\0junk"),
    "JPEG of several pictures (MPO)": lambda: encode(
        PHOTO, "MPO", save_all=True, append_images=[PHOTO]
    ),
    "MPO without its second picture": lambda: encode(
        PHOTO, "MPO", save_all=True, append_images=[PHOTO]
    )[:20_000],
    "progressive JPEG": lambda: PROGRESSIVE,
    "AVIF": lambda: encode(PHOTO, "AVIF", quality=95),
    "animated AVIF": lambda: animation("AVIF"),
    "animated GIF": lambda: animation("GIF"),
    "animated WebP": lambda: animation("WEBP"),
    "WebP with a broken EXIF block": lambda: encode(PHOTO, "WEBP", exif=b"Exif\0\0junk-junk"),
    "16-bit TIFF": lambda: sixteen_bit_tiff(),
    **{
        f"TIFF ({name})": lambda name=name: encode(PHOTO, "TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")
    },
}


def sixteen_bit_tiff():
    """A grey ramp of 16 bits."""
    ramp = PHOTO.convert("L").convert("I").point(lambda v: v * 256 + 0).convert("I;16")
    return encode(ramp, "TIFF")


def interlaced_png(size=SIZE, share=1.0):
    """A PNG whose rows come in seven passes, cut after a share of its compressed pixels."""
    image = PHOTO.resize(size)
    raw = b""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    for x0, y0, dx, dy in (*steps, (0, 1, 1, 2)):
        for y in range(y0, size[1], dy):
            row = b"".join(bytes(image.getpixel((x, y))) for x in range(x0, size[0], dx))
            raw += b"\0" + row if row else b""
    packed = zlib.compress(raw, 0)
    packed = packed[: int(len(packed) * share)]
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


def open_bytes(tmp_path, data, name="a.img", **limits):
    (tmp_path / name).write_bytes(data)
    return open_image(Media(kind="image", path=name), tmp_path, ImageLimits(**limits))


def difference(image, other=PHOTO):
    """Mean difference of two images of one size, 0 to 255."""
    return max(ImageStat.Stat(ImageChops.difference(image, other)).mean)


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_browser_shows_is_read_and_sent_as_jpeg(tmp_path, name):
    opened = open_bytes(tmp_path, SHOWN[name](), "a.jpg")
    image = load_image(opened)
    expected = PHOTO.convert("L").convert("RGB") if name == "16-bit TIFF" else PHOTO
    assert difference(image, expected) < 12
    sent = Image.open(io.BytesIO(base64.b64decode(data_url(opened).partition(",")[2])))
    assert (sent.format, sent.size, sent.mode) == ("JPEG", SIZE, "RGB")
    assert difference(sent, expected) < 12


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_rotation_is_applied_once_in_every_format(tmp_path, format, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO, format, exif=exif, **({"quality": 95} if format != "TIFF" else {}))
    opened = open_bytes(tmp_path, data)
    tagged = Image.open(io.BytesIO(encode(PHOTO, "PNG", exif=_exif(orientation))))
    upright = ImageOps.exif_transpose(tagged)
    assert load_image(opened).size == upright.size
    assert difference(load_image(opened), upright) < 12
    assert conversion_notes(opened) == {"rotation": "exif rotated"}


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_adobe_colours_are_not_inverted(tmp_path):
    image = load_image(open_bytes(tmp_path, encode(PHOTO.convert("CMYK"), "JPEG")))
    assert difference(image) < 12
    opened = open_bytes(tmp_path, ycck_jpeg(), "b.jpg")
    assert conversion_notes(opened) == {"colour": "cmyk converted"}


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_palette_with_transparency_stands_on_white(tmp_path, format):
    image = Image.new("P", SIZE, 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(0, (0, 0, 100, 160))
    opened = open_bytes(tmp_path, encode(image, format, transparency=0))
    assert load_image(opened).getpixel((10, 10)) == (255, 255, 255)
    assert load_image(opened).getpixel((150, 10)) == (255, 0, 0)


# What is missing at the end of a file.

NO_PIXEL_MISSING = {
    "JPEG": JPEG[:-2],
    "JPEG with half its end marker": JPEG[:-1],
    "progressive JPEG": PROGRESSIVE[:-2],
    "progressive JPEG without its last refinement": PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")],
    "JPEG with restarts": encode(PHOTO, "JPEG", restart_marker_blocks=2)[:-2],
    "JPEG of full colour resolution": encode(PHOTO, "JPEG", subsampling=0)[:-2],
    "grey JPEG": encode(PHOTO.convert("L"), "JPEG")[:-2],
}


@pytest.mark.parametrize("name", NO_PIXEL_MISSING)
def test_jpeg_without_end_marker_is_read_and_noted(tmp_path, name):
    opened = open_bytes(tmp_path, NO_PIXEL_MISSING[name])
    expected = PHOTO.convert("L").convert("RGB") if name == "grey JPEG" else PHOTO
    assert difference(load_image(opened), expected) < 12
    assert "complete" in conversion_notes(opened)["completeness"]


SLIGHTLY_CUT = {
    "JPEG": lambda: JPEG[: len(JPEG) * 98 // 100],
    "JPEG with an end marker": lambda: JPEG[: len(JPEG) * 96 // 100] + b"\xff\xd9",
    "JPEG in a file of its full size": lambda: JPEG[: len(JPEG) * 98 // 100] + bytes(900),
    "PNG": lambda: PNG[: len(PNG) * 97 // 100],
    "interlaced PNG": lambda: interlaced_png(share=0.98),
    "PNG whose pixels end before its end": lambda: png_of_rows(156),
    "BMP": lambda: encode(PHOTO, "BMP")[:-2],
    "TIFF": lambda: encode(PHOTO, "TIFF")[:-400],
}


def png_of_rows(n_rows):
    """A PNG of 160 rows that holds fewer."""
    data = encode(PHOTO.crop((0, 0, 200, n_rows)), "PNG")
    header = data[12:20] + struct.pack(">I", 160) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize("name", SLIGHTLY_CUT)
def test_slightly_cut_image_is_read_and_noted(tmp_path, name):
    opened = open_bytes(tmp_path, SLIGHTLY_CUT[name]())
    image = load_image(opened)
    assert image.width == 200
    assert 150 <= image.height <= 160
    top = (0, 0, 200, 140)
    assert difference(image.crop(top), PHOTO.crop(top)) < 20
    if name != "JPEG with an end marker":  # its last row is not all grey
        assert conversion_notes(opened)["completeness"].startswith("truncated")


HALF_MISSING = {
    "JPEG": lambda: JPEG[: len(JPEG) // 2],
    "JPEG with an end marker": lambda: JPEG[: len(JPEG) // 2] + b"\xff\xd9",
    "JPEG with bytes after its end marker": lambda: JPEG[: len(JPEG) // 2] + b"\xff\xd9junk",
    "JPEG in a file of its full size": lambda: JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2),
    "rotated JPEG": lambda: rotated_half(),
    "progressive JPEG in its first scan": lambda: PROGRESSIVE[: PROGRESSIVE.index(SCAN) + 200],
    "progressive JPEG after its first scan": lambda: PROGRESSIVE[: PROGRESSIVE.index(SCAN) + 900],
    "the same with an end marker": lambda: (
        PROGRESSIVE[: PROGRESSIVE.index(SCAN) + 900] + b"\xff\xd9"
    ),
    "PNG": lambda: PNG[: len(PNG) // 2],
    "interlaced PNG": lambda: interlaced_png(share=0.6),
    "PNG whose pixels end before its end": lambda: png_of_rows(80),
}


def rotated_half():
    data = encode(PHOTO, "JPEG", exif=_exif(6))
    return data[: len(data) // 2] + b"\xff\xd9"


@pytest.mark.parametrize("name", HALF_MISSING)
def test_half_an_image_is_rejected_with_how_much_is_missing(tmp_path, name):
    with pytest.raises(ImageError, match=r"the last \d\d% of its pixels|coarse scans") as error:
        open_bytes(tmp_path, HALF_MISSING[name]())
    assert error.value.kind == "corrupt"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(8, 8), (33, 17), (200, 160), (301, 99)])
def test_complete_jpegs_with_a_flat_border_are_not_taken_for_cut_ones(
    tmp_path, options, subsampling, size
):
    flat = Image.new("RGB", size, (128, 128, 128))
    framed = PHOTO.resize(size)
    framed.paste("white", (0, size[1] // 2, *size))
    for n, image in enumerate((flat, framed)):
        data = encode(image, "JPEG", subsampling=subsampling, **options)
        assert conversion_notes(open_bytes(tmp_path, data, f"{n}.jpg")) == {}
        cut = open_bytes(tmp_path, data[:-2], f"{n}-cut.jpg")
        assert "complete" in conversion_notes(cut)["completeness"]


# Limits, and true reasons.


def test_avif_is_bounded_by_what_its_data_say_not_its_container(tmp_path):
    large = Image.new("RGB", (1200, 1000), 90)
    for n, options in enumerate(({}, {"save_all": True, "append_images": [large]})):
        data = encode(large, "AVIF", **options)
        at = data.index(b"ispe") + 8
        lying = data[:at] + struct.pack(">II", 64, 64) + data[at + 8 :]
        if not options:
            assert Image.open(io.BytesIO(lying)).size == (64, 64)
        with pytest.raises(ImageError, match="over the limit") as error:
            open_bytes(tmp_path, lying, f"{n}.avif", max_source_pixels=500_000)
        assert error.value.kind == "too_large"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("quality", [30, 100])
def test_avif_of_every_mode_is_within_its_own_size(tmp_path, mode, quality):
    data = encode(photo((1000, 800), mode), "AVIF", quality=quality)
    image = load_image(open_bytes(tmp_path, data, max_source_pixels=800_000))
    assert image.width / image.height == 1000 / 800


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_cut_avif_raises_only_image_error(tmp_path, cut):
    with pytest.raises(ImageError):
        open_bytes(tmp_path, AVIF[:cut])


def test_pillow_without_avif_is_the_reason(tmp_path, monkeypatch):
    from PIL import AvifImagePlugin

    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    monkeypatch.setattr(images.features, "check", lambda name: False)
    with pytest.raises(ImageError, match="this Pillow reads no AVIF") as error:
        open_bytes(tmp_path, AVIF)
    assert error.value.kind == "unsupported"


SVG = b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<!DOCTYPE svg PUBLIC 'x'>\n<svg xmlns='x'/>"


@pytest.mark.parametrize(
    ("data", "reason", "hint"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC", "JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "it is HEIC", "JPEG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "it is a video", "one picture"),
        (b"\x1a\x45\xdf\xa3\1\2\3\4", "it is a video", "one picture"),
        (SVG, "it is SVG", "PNG"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip", "unpack"),
        (JPEG[:20], "JPEG header is broken", "again"),
        (PNG[:20], "PNG header is broken", "again"),
    ],
)
def test_reason_names_what_the_file_is(tmp_path, data, reason, hint):
    with pytest.raises(ImageError) as error:
        open_bytes(tmp_path, data)
    assert reason in error.value.reason
    assert hint in error.value.hint
    assert "identify" not in str(error.value)
