"""Read files as viewers do: without what they do not need, and when only their very end is missing.

Text, profiles and previews in a JPEG or PNG are dropped before it is decoded, so that damage or
excess in them does not cost the picture. A file that cannot be decoded to the end is repaired where
at most `MAX_MISSING_SHARE` of it is missing; how much is measured, never guessed from its size.

    essentials(data)      # the same pixels
    repair(data).note       # "truncated: the last 2% of its pixels are missing"
"""

import io
import math
import random
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops

MAX_MISSING_SHARE = 0.05
"""A picture that lacks more is broken: what is missing may be what it is about."""

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""After FF: 00 is image data, D0 to D7 are restart markers inside a scan, FF is padding."""
SCAN_MARKER, END_MARKER = 0xDA, 0xD9
_APP0, _APP1, _APP14, _COMMENT = 0xE0, 0xE1, 0xEE, 0xFE
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_END = b"\xff\xd9"
_PADDED_STARTS = (b"BM", b"II", b"MM")
_MIN_ZEROS = 64
"""Zero bytes at the end that are no pixels: a download whose space was reserved beforehand."""
_MAX_COMPARED_PIXELS = 10_000_000

# What Pillow needs for the pixels of a PNG, its first frame and its rotation.
_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# x0, y0, dx, dy of the passes of an interlaced PNG, and of one that is not.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_PASSES = {0: ((0, 0, 1, 1),), 1: (*_ADAM7, (0, 1, 1, 2))}


class MissingPixelsError(ValueError):
    """Too much of an image is missing; the text says how much."""


@dataclass(frozen=True)
class Repaired:
    """A file that can be decoded to its end."""

    data: bytes
    note: str
    """What is missing, for people."""


def essentials(data: bytes) -> bytes:
    """Return a JPEG or PNG without text, profiles, previews and bytes after its end.

    Args:
        data: Bytes of a file of any format; others are returned as they are.
    """
    if data.startswith(JPEG_START):
        return _jpeg_essentials(data)
    if data.startswith(PNG_START):
        return PNG_START + b"".join(
            _png_chunk(kind, body, crc) for kind, body, crc in _png_chunks(data)
        )
    return data


def repair(data: bytes) -> Repaired | None:
    """Repair a file that cannot be decoded to its end; None for formats where that is not known.

    Args:
        data: Bytes of the file, whose size in pixels has been checked.

    Raises:
        MissingPixelsError: Too much is missing.
    """
    if data.startswith(JPEG_START):
        return _repair_jpeg(data)
    if data.startswith(PNG_START):
        return _repair_png(data)
    return pad(data)


def pad(data: bytes) -> Repaired | None:
    """Fill up the end of a file whose format would else not be decoded at all.

    Args:
        data: Bytes of the file.

    Returns:
        The file with as many zeros as may be missing; None for other formats.
    """
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    is_cut_webp = is_webp and len(data) < int.from_bytes(data[4:8], "little") + 8
    if not is_cut_webp and not data.startswith(_PADDED_STARTS) and data[4:8] != b"ftyp":
        return None
    n_bytes = int(len(data) * MAX_MISSING_SHARE / (1 - MAX_MISSING_SHARE))
    note = f"truncated: up to {n_bytes:,} bytes are missing at its end"
    return Repaired(data + bytes(n_bytes), note)


def is_cut_jpeg(data: bytes) -> bool:
    """Return whether a JPEG has no end marker, or none of the scans that its detail needs."""
    if not data.startswith(JPEG_START):
        return False
    has_end = any(code == END_MARKER for code, _, _ in _jpeg_segments(data))
    return not has_end or not _is_recognizable(data, _scans(data))


def lacks_pixels(data: bytes) -> bool:
    """Return whether a JPEG or PNG that was decoded has no data for some of its pixels."""
    if data.startswith(JPEG_START):
        return _missing_share(_jpeg_body(data)) > 0
    pixels = _png_pixels(data) if data.startswith(PNG_START) else None
    return pixels is not None and len(pixels.raw) < sum(pixels.pass_sizes)


def _note(missing_share: float) -> str:
    if missing_share > MAX_MISSING_SHARE:
        raise MissingPixelsError(f"the last {missing_share:.0%} of its pixels are missing")
    if not missing_share:
        return "truncated: its end is missing, its pixels are complete"
    return f"truncated: the last {max(missing_share, 0.01):.0%} of its pixels are missing"


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker code, start and end of each segment up to the end marker."""
    offset = 2
    while (marker := JPEG_MARKER.search(data, offset)) is not None:
        code, start = marker.group(1)[0], marker.start()
        offset = marker.end()
        if code != END_MARKER:
            offset += int.from_bytes(data[offset : offset + 2])
        yield code, start, offset
        if code == END_MARKER:
            return


def _jpeg_essentials(data: bytes) -> bytes:
    pieces, has_exif = [data[:2]], False
    for code, start, end in _jpeg_segments(data):
        if code == SCAN_MARKER:
            return b"".join(pieces) + data[start:]
        is_exif = code == _APP1 and data[start + 4 : start + 8] == b"Exif" and not has_exif
        has_exif |= is_exif
        is_extra = _APP0 <= code < _APP0 + 16 or code == _COMMENT
        if not is_extra or is_exif or code in (_APP0, _APP14):
            pieces.append(data[start:end])
    return data


def _jpeg_body(data: bytes) -> bytes:
    """Return what stands before the end marker, without zeros that fill up a broken download."""
    end = next((s for code, s, _ in _jpeg_segments(data) if code == END_MARKER), len(data))
    body = data[:end]
    stripped = body.rstrip(b"\0")
    return (body if len(body) - len(stripped) < _MIN_ZEROS else stripped).removesuffix(b"\xff")


def _repair_jpeg(data: bytes) -> Repaired | None:
    body = _jpeg_body(data)
    scans = _scans(body)
    if not scans:
        raise MissingPixelsError("it ends before its pixels begin")
    if len(scans) > 1 and _is_recognizable(body, scans[:-1]):
        note = "truncated: its pixels are complete, finest detail may be missing"
        return Repaired(body + _END, note)
    if not _is_recognizable(body, scans):
        raise MissingPixelsError("it ends within its first, coarse scans")
    return Repaired(body + _END, _note(_missing_share(body)))


def _sampling_factors(body: bytes) -> bytes:
    """Return the sampling factors of a JPEG's components, a byte each."""
    frames = (
        body[start + 11 : end : 3]
        for code, start, end in _jpeg_segments(body)
        if code in _FRAME_MARKERS
    )
    return next(frames, b"")


def _scans(data: bytes) -> list[tuple[int, int]]:
    return [(start, end) for code, start, end in _jpeg_segments(data) if code == SCAN_MARKER]


def _is_recognizable(body: bytes, scans: list[tuple[int, int]]) -> bool:
    """Return whether scans hold the mean of every block in colour, and all detail in brightness."""
    means, detail, first_component = set(), set(), None
    for start, end in scans:
        n = body[start + 4] if start + 4 < end else 0
        parameters = body[start + 5 : end]
        if len(parameters) < 2 * n + 3:
            return False
        components = set(parameters[: 2 * n : 2])
        first_component = parameters[0] if first_component is None else first_component
        first, last = parameters[2 * n], parameters[2 * n + 1]
        if first == 0:
            means |= components
        if first_component in components:
            detail |= set(range(first, last + 1))
    return len(means) >= len(_sampling_factors(body)) and len(detail) == 64


def _missing_share(body: bytes) -> float:
    """Return the share of a JPEG's pixels that depend on what follows its data.

    Where a decoder runs out of data it goes on with grey. With noise after the data those pixels
    differ, and no others: after a complete scan the noise is skipped.
    """
    noise = random.Random(0).randbytes(4096).replace(b"\xff", b"\x7f")
    block_height = 8 * max((f & 15 for f in _sampling_factors(body)), default=1)
    with _decoded(body + _END) as plain, _decoded(body + noise + _END) as noisy:
        width, height = plain.size
        difference = ImageChops.difference(plain, noisy)
        box = difference.getbbox()
        if box is None:
            return 0.0
        top, bottom = box[1], min(box[1] + block_height, height)
        first_blocks = difference.crop((0, top, width, bottom)).getbbox()
        left = first_blocks[0] if first_blocks else 0
        return 1.0 - (top * width + left * (bottom - top)) / (width * height)


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    width, height = image.size
    if width * height > _MAX_COMPARED_PIXELS:
        image.draft(None, (width // 2, height // 2))
    image.load()
    return image


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield kind, body and checksum of the chunks that the pixels need; the last may be cut."""
    offset = len(PNG_START)
    while offset + 8 <= len(data):
        length, kind = int.from_bytes(data[offset : offset + 4]), data[offset + 4 : offset + 8]
        body = data[offset + 8 : offset + 8 + length]
        end = offset + 8 + length
        if kind in _PNG_CHUNKS or kind == b"IEND":
            yield kind, body, data[end : end + 4]
        if kind == b"IEND":
            return
        offset = end + 4


def _png_chunk(kind: bytes, body: bytes, crc: bytes | None = None) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body)) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + checksum


@dataclass(frozen=True)
class _PngPixels:
    """Unpacked rows of a PNG, each with its filter byte, pass after pass."""

    height: int
    raw: bytes
    passes: list[tuple[int, int, int]]
    """First row, distance of rows and bytes of a row."""
    pass_sizes: list[int]


def _png_pixels(data: bytes) -> _PngPixels | None:
    """Unpack a PNG as far as its data go; None if its header is broken."""
    chunks = [(kind, body) for kind, body, _ in _png_chunks(data)]
    if not chunks or len(chunks[0][1]) != 13:
        return None
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in _CHANNELS or interlace not in _PASSES:
        return None
    bits = depth * _CHANNELS[colour]
    passes = [
        (y0, dy, 1 + math.ceil(math.ceil((width - x0) / dx) * bits / 8))
        for x0, y0, dx, dy in _PASSES[interlace]
        if width > x0
    ]
    sizes = [_rows(height, y0, dy) * n_bytes for y0, dy, n_bytes in passes]
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    return _PngPixels(height, _inflate(packed, sum(sizes)), passes, sizes)


def _repair_png(data: bytes) -> Repaired | None:
    """Write a PNG again with the rows that are complete."""
    pixels = _png_pixels(data)
    if pixels is None:
        return None
    raw, sizes = pixels.raw, pixels.pass_sizes
    y0, dy, n_bytes = pixels.passes[-1]
    n_last = (len(raw) - sum(sizes[:-1])) // n_bytes
    # Rows up to the first that the last pass lacks.
    n_rows = min(pixels.height, y0 + n_last * dy) if n_last >= 0 else 0
    note = _note(1.0 - n_rows / pixels.height)
    pieces, offset = [], 0
    for (y0, dy, n_bytes), size in zip(pixels.passes, sizes, strict=True):
        pieces.append(raw[offset : offset + _rows(n_rows, y0, dy) * n_bytes])
        offset += size
    chunks = [(kind, body) for kind, body, _ in _png_chunks(data)]
    header = chunks[0][1]
    written = [(b"IHDR", header[:4] + struct.pack(">I", n_rows) + header[8:])]
    written += [(k, body) for k, body in chunks if k in (b"PLTE", b"tRNS", b"eXIf")]
    written += [(b"IDAT", zlib.compress(b"".join(pieces), 1)), (b"IEND", b"")]
    return Repaired(PNG_START + b"".join(_png_chunk(k, body) for k, body in written), note)


def _rows(height: int, y0: int, dy: int) -> int:
    return max(0, math.ceil((height - y0) / dy))


def _inflate(packed: bytes, max_bytes: int) -> bytes:
    """Return what can be decompressed before the data ends or breaks, at most `max_bytes`."""
    inflater, raw = zlib.decompressobj(), bytearray()
    try:
        for offset in range(0, len(packed), 4096):
            raw += inflater.decompress(packed[offset : offset + 4096], max_bytes - len(raw) + 1)
            if len(raw) >= max_bytes or inflater.eof:
                break
    except zlib.error:
        pass
    return bytes(raw[:max_bytes])
