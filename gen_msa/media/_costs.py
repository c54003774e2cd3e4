"""What decoding a picture would cost beyond its width and height, read from its bytes alone.

A JPEG may hold any number of scans, each of which goes over the whole picture: 400 kB can take
minutes. A TIFF may keep a small picture in a huge tile, which is decoded whole: 1 MB can take 1 GB.
A PNG may carry texts that unpack to a thousand times their size. Knows nothing of paths or limits,
and decodes nothing.

    too_laborious(data)     # "its JPEG has over 100 scans", or ""
    tile(data)              # (256, 256); (0, 0) for what is no TIFF
"""

import re
import struct

MAX_JPEG_SCANS = 100
"""Of a JPEG. Encoders write about ten; libtiff sets the same limit for JPEG inside TIFF."""
MAX_JPEG_SEGMENTS = 1_000
"""Of a JPEG: tables, scans and notes; 1,000 of them hold up to 64 MB."""
MAX_PNG_CHUNKS = 20_000
"""Of a PNG."""
MAX_PNG_TEXTS = 16
"""Of a PNG, of kinds that may be packed; each is unpacked to as much as 1 MB."""
_MAX_JPEG_FILL = 4_096
"""Bytes of filling before a marker. Pillow goes over it, and over segments, one step at a time."""

# 00 after FF is a byte of the picture, D0 to D7 stand inside a scan, and another FF is filling.
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SCAN_MARKER, _END_MARKER = 0xDA, 0xD9
_SKIPPABLE_MARKERS = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Markers of segments. Behind others nothing is skipped, so that no scan is overlooked."""
_TILE_WIDTH_TAG, _TILE_LENGTH_TAG = 322, 323
_SHORT, _LONG = 3, 4


def decompression_risk(data: bytes) -> str:
    """Why a JPEG or PNG would take long out of all proportion; `""` for everything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg_risk(data)
    return _png_risk(data) if data.startswith(b"\x89PNG") else ""


def _jpeg_risk(data: bytes) -> str:
    offset, scans = 2, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = _JPEG_MARKER.search(data, offset)
        if marker is None:
            return ""
        if not scans and marker.start() - offset > _MAX_JPEG_FILL:
            return f"its JPEG has over {_MAX_JPEG_FILL:,} bytes of filling before a marker"
        offset, code = marker.end(), marker.group(1)[0]
        if code == _END_MARKER:
            return ""
        scans += code == _SCAN_MARKER
        if scans > MAX_JPEG_SCANS:
            return f"its JPEG has over {MAX_JPEG_SCANS} scans"
        if code in _SKIPPABLE_MARKERS:
            offset += int.from_bytes(data[offset : offset + 2])
    return f"its JPEG has over {MAX_JPEG_SEGMENTS:,} segments"


def _png_risk(data: bytes) -> str:
    offset, texts = 8, 0
    for _ in range(MAX_PNG_CHUNKS):
        length, kind = data[offset : offset + 4], data[offset + 4 : offset + 8]
        if len(kind) < 4 or kind == b"IEND":
            return ""
        texts += kind in (b"zTXt", b"iTXt")
        if texts > MAX_PNG_TEXTS:
            return f"its PNG has over {MAX_PNG_TEXTS} packed texts"
        offset += 12 + int.from_bytes(length)
    return f"its PNG has over {MAX_PNG_CHUNKS:,} chunks"


def tiff_tile_size(data: bytes) -> tuple[int, int]:
    """The largest tile width and length that the first directory of a TIFF names; 0 if none.

    Read from the bytes: of an entry that stands twice, Pillow tells the last and libtiff obeys the
    first. Raises `ValueError` for a size that is neither a SHORT nor a LONG, as TIFF demands.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return 0, 0
    is_big_tiff = data[2:4] in (b"+\0", b"\0+")
    header_offset, count, step = (8, "Q", 20) if is_big_tiff else (4, "H", 12)
    (first,) = struct.unpack_from(order + ("Q" if is_big_tiff else "I"), data, header_offset)
    sizes = {_TILE_WIDTH_TAG: 0, _TILE_LENGTH_TAG: 0}
    if first + 8 > len(data):
        return 0, 0
    (entries,) = struct.unpack_from(order + count, data, first)
    first += struct.calcsize(count)
    for entry_offset in range(first, min(first + entries * step, len(data) - step + 1), step):
        tag, kind = struct.unpack_from(order + "HH", data, entry_offset)
        if tag not in sizes:
            continue
        if kind not in (_SHORT, _LONG):
            raise ValueError(f"its TIFF gives a tile's size as type {kind}")
        value_format = order + ("H" if kind == _SHORT else "I")
        (value,) = struct.unpack_from(value_format, data, entry_offset + (12 if is_big_tiff else 8))
        sizes[tag] = max(sizes[tag], value)
    return sizes[_TILE_WIDTH_TAG], sizes[_TILE_LENGTH_TAG]
