"""Images that would fill the memory are rejected from their header."""

import io
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image


def _png(width: int, height: int, packed: bytes = b"") -> bytes:
    """A PNG whose header claims any size, around pixel data that is already compressed."""
    out = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + name + body
        out += struct.pack(">I", zlib.crc32(name + body))
    return out


def _patched(data: bytes, offset: int, fmt: str, *values: int) -> bytes:
    size = struct.calcsize(fmt)
    return data[:offset] + struct.pack(fmt, *values) + data[offset + size :]


def _bombs() -> list[bytes]:
    deflate = zlib.compressobj(9)
    packed = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(40)) + deflate.flush()
    sides = [
        (20_000, 20_000),
        (12_000, 12_000),
        (9_000, 9_000),
        (40_001, 1_000),
        (1, 1),
        (1, 5_000),
    ]
    sides += [(5_000, 1), (7, 7), (8, 401), (401, 8), (65_000, 9), (2**31 - 1, 2**31 - 1)]
    bombs = [_png(w, h, packed) for w, h in sides]
    gif, bmp, jpeg, webp = (_blank(f) for f in ("GIF", "BMP", "JPEG", "WEBP"))
    frame = jpeg.index(b"\xff\xc0")
    big_sizes = [
        (65_535, 65_535),
        (30_000, 30_000),
        (8_000, 8_000),
        (65_535, 9),
        (1, 1),
        (5, 5_000),
    ]
    offset = gif.index(b"\x2c\0\0\0\0") + 5  # a frame may be larger than the screen it stands on
    bombs += [_patched(_patched(gif, 6, "<HH", w, h), offset, "<HH", w, h) for w, h in big_sizes]
    bombs += [_patched(bmp, 18, "<ii", w, h) for w, h in big_sizes]
    bombs += [_patched(jpeg, frame + 5, ">HH", h, w) for w, h in big_sizes]
    vp8 = webp.index(b"\x9d\x01\x2a")
    bombs += [_patched(webp, vp8 + 3, "<HH", w, h) for w, h in ((16_383, 16_383), (9_000, 9_000))]
    for w, h in ((100_000, 100_000), (7_000, 6_000), (3, 3), (4_000_000, 10)):
        tiff = io.BytesIO()
        Image.new("1", (16, 16)).save(tiff, "TIFF")
        bombs.append(_tiff_of_size(tiff.getvalue(), w, h))
    bombs += [_patched(gif, offset, "<HH", w, h) for w, h in big_sizes[:3]]
    bombs += [_saved_large(f) for f in ("PNG", "GIF", "WEBP", "JPEG", "TIFF", "BMP")]
    return bombs + [_png(6_400 + n, 6_300, packed) for n in range(50 - len(bombs))]


def _blank(format: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, format)
    return out.getvalue()


def _tiff_of_size(data: bytes, width: int, height: int) -> bytes:
    """Rewrite the ImageWidth (256) and ImageLength (257) entries as 32-bit numbers."""
    for tag, value in ((256, width), (257, height)):
        offset = next(
            n
            for n in range(8, len(data) - 12)
            if struct.unpack_from("<HH", data, n) in {(tag, 3), (tag, 4)}
        )
        data = _patched(data, offset, "<HHII", tag, 4, 1, value)
    return data


def _saved_large(format: str) -> bytes:
    """Encode a real blank image of 48 million pixels in a few kilobytes (BMP: 6 MB)."""
    out = io.BytesIO()
    image = Image.new("1", (8_000, 6_000)) if format != "WEBP" else Image.new("L", (8_000, 6_000))
    image.save(out, format, **({"compression": "group4"} if format == "TIFF" else {}))
    return out.getvalue()


_PEAK_MEMORY_SCRIPT = """
import sys
from pathlib import Path
from gen_msa.media import ImageError, ImageLimits, open_image
from gen_msa.types import Media
root, limits = Path(sys.argv[1]), ImageLimits()
def peak():  # of this process alone; ru_maxrss would begin at the parent's
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
def check(name):
    try:
        open_image(Media(kind="image", path=name), root, limits)
    except ImageError as e:
        return e.kind
    return "accepted"
assert check("good.png") == "accepted"
before = peak()
kinds = [check(f"{n}.img") for n in range(50)]
print(kinds.count("too_large") + kinds.count("too_small"), peak() - before, *kinds)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_bombs_are_rejected_from_their_header_in_little_memory(tmp_path, make):
    bombs = _bombs()
    assert len(bombs) == 50
    (tmp_path / "good.png").write_bytes(make())
    for n, bomb in enumerate(bombs):
        (tmp_path / f"{n}.img").write_bytes(bomb)
    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PEAK_MEMORY_SCRIPT, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    n_rejected, megabytes, *kinds = completed.stdout.split()
    assert (n_rejected, "accepted" in kinds) == ("50", False), kinds
    assert int(megabytes) < 200
