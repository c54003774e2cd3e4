"""Images of ordinary size that cost minutes or gigabytes to decode are rejected, and no others."""

import io
import struct
import time
import zlib

import pytest
from PIL import Image

from gen_msa.media import ImageError, ImageLimits, images
from gen_msa.media.images import check_image, decode_image

LIMITS = ImageLimits()
COMMENT, UNKNOWN, EXIF = b"\xff\xfe", b"\xff\x02", b"\xff\xe1"


def encode_blank(format, size=(64, 48), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size, 90).save(out, format, **options)
    return out.getvalue()


def segment(marker, content):
    return marker + struct.pack(">H", len(content) + 2) + content


def progressive_jpeg(n_repeats, between=b"", size=(64, 48)):
    """A progressive JPEG with its last scan repeated, `between` before each repetition."""
    data = encode_blank("JPEG", size, "L", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + (between + data[last:end]) * n_repeats + data[end:]


def tiff(*sizes, big=False, order="<"):
    """A grey image of 40 x 40 in one tile, whose width and length are listed once or twice."""
    entries = [(256, 4, 40), (257, 4, 40), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    entries += [(tag, kind, v) for kind, w, h in sizes for tag, v in ((322, w), (323, h))]
    packed = zlib.compress(bytes(64 * 64))
    data = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    data += struct.pack(order + "HHQQ", 8, 0, 16, 0)[:-8] if big else struct.pack(order + "I", 8)
    entries += [(324, 4, 0), (325, 4, len(packed))]
    body = len(data) + (16 + 20 * len(entries) if big else 6 + 12 * len(entries))
    data += struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, kind, value in sorted(entries, key=lambda e: e[0]):
        value_bytes = struct.pack(order + {1: "B", 3: "H", 4: "I", 11: "f"}[kind], value or body)
        data += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, 1)
        data += value_bytes.ljust(8 if big else 4, b"\0")
    return data + bytes(8 if big else 4) + packed


def png(*chunks):
    data = encode_blank("PNG")
    extra_chunks = b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )
    return data[:33] + extra_chunks + data[33:]


TEXT = (b"zTXt", b"k\0\0" + zlib.compress(bytes(1000)))
HUGE = (4, 32_768, 32_768)
COSTLY = {
    "5,000 scans of 36 million pixels": (
        lambda: progressive_jpeg(5_000, size=(6_000, 6_000)),
        "100 scans",
    ),
    "one scan too many": (lambda: progressive_jpeg(images.MAX_JPEG_SCANS), "100 scans"),
    "an end marker hidden in a comment": (
        lambda: progressive_jpeg(200, segment(COMMENT, b"\xff\xd9")),
        "100 scans",
    ),
    "an unknown marker": (
        lambda: progressive_jpeg(200, UNKNOWN + b"\xff\xf0"),
        "100 scans",
    ),
    "restarts between scans": (lambda: progressive_jpeg(200, b"\xff\xd0\xff\xff"), "100 scans"),
    "3 million empty segments": (
        lambda: (
            encode_blank("JPEG")[:2] + segment(EXIF, b"") * 3_000_000 + encode_blank("JPEG")[2:]
        ),
        "1,000 segments",
    ),
    "a header full of padding": (
        lambda: encode_blank("JPEG")[:2] + b"\xff" * 9_000_000 + encode_blank("JPEG")[2:],
        "bytes of padding",
    ),
    "a tile of 1 GB": (lambda: tiff(HUGE), "32768 x 32768 pixels in a tile"),
    "the same, with another size for Pillow": (lambda: tiff(HUGE, (4, 64, 64)), "pixels in a tile"),
    "the same in the other order": (lambda: tiff((4, 64, 64), HUGE), "pixels in a tile"),
    "the same in big-endian order": (lambda: tiff(HUGE, order=">"), "pixels in a tile"),
    "the same in a BigTIFF": (lambda: tiff(HUGE, big=True), "pixels in a tile"),
    "a tile as wide as a SHORT allows": (lambda: tiff((3, 65_535, 65_535)), "in a tile"),
    "a tile whose size is not an integer": (lambda: tiff((11, 64.0, 64.0)), "as type 11"),
    "900,000 chunks": (lambda: png(*[(b"abCd", b"")] * 900_000), "20,000 chunks"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_image_is_rejected_at_once(name):
    make, message = COSTLY[name]
    data = make()
    start = time.process_time()
    with pytest.raises(ImageError, match=message) as error:
        check_image(data, "a.img", LIMITS)
    assert time.process_time() - start < 0.5
    assert error.value.kind == ("corrupt" if "type" in message else "too_large")
    assert error.value.hint


ORDINARY = {
    "a progressive JPEG": lambda: encode_blank("JPEG", progressive=True),
    "as many scans as may be": lambda: progressive_jpeg(images.MAX_JPEG_SCANS - 10),
    "a JPEG with restarts": lambda: encode_blank("JPEG", (640, 480), restart_marker_blocks=1),
    "a JPEG with a video appended": lambda: encode_blank("JPEG") + b"\xff\xda\xff\xd9" * 1_000_000,
    "a JPEG with thumbnails in its metadata": lambda: (
        encode_blank("JPEG")[:2]
        + segment(EXIF, b"\xff\xd8\xff\xda\xff\xd9" * 999)
        + encode_blank("JPEG")[2:]
    ),
    "a tiled TIFF": lambda: tiff((4, 64, 64)),
    "a big-endian tiled TIFF": lambda: tiff((3, 64, 64), order=">"),
    "a tiled BigTIFF": lambda: tiff((4, 64, 64), big=True),
    "a TIFF in strips": lambda: encode_blank("TIFF", compression="tiff_lzw"),
    "a PNG with some texts": lambda: png(*[TEXT] * 16),
    **{f"a plain {f}": lambda f=f: encode_blank(f) for f in ("PNG", "GIF", "WEBP", "BMP", "TIFF")},
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_images_are_decoded(name):
    data = ORDINARY[name]()
    check_image(data, "a.img", LIMITS)
    assert decode_image(data, "a.img", LIMITS.max_pixels).image.getextrema()


@pytest.mark.parametrize("cut", range(0, 60, 3))
@pytest.mark.parametrize(
    "make", [lambda: tiff(HUGE), lambda: tiff(HUGE, big=True), lambda: progressive_jpeg(9)]
)
def test_truncated_header_raises_only_image_error(make, cut):
    with pytest.raises(ImageError):
        check_image(make()[:cut], "a.img", LIMITS)


def test_pages_of_a_long_tiff_are_not_all_counted():
    page = encode_blank("TIFF")
    first = struct.unpack_from("<I", page, 4)[0]
    size = 2 + 12 * struct.unpack_from("<H", page, first)[0]
    data, link = bytearray(page), first + size
    for _ in range(20_000):
        data += bytes(len(data) % 2)
        struct.pack_into("<I", data, link, len(data))
        data += page[first : first + size] + bytes(4)
        link = len(data) - 4
    start = time.process_time()
    assert (
        decode_image(bytes(data), "a.tif", LIMITS.max_pixels).notes["frames"]
        == "animated: first frame"
    )
    assert time.process_time() - start < 1
