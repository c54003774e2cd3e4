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

MOST_SCANS = 100
"""Of a JPEG. Encoders write about ten; libtiff sets the same limit for JPEG inside TIFF."""
MOST_SEGMENTS = 1_000
"""Of a JPEG: tables, scans and notes; 1,000 of them hold up to 64 MB."""
MOST_CHUNKS = 20_000
"""Of a PNG."""
MOST_TEXTS = 16
"""Of a PNG, of kinds that may be packed; each is unpacked to as much as 1 MB."""
_MOST_FILL = 4_096
"""Bytes of filling before a marker. Pillow goes over it, and over segments, one step at a time."""

# 00 after FF is a byte of the picture, D0 to D7 stand inside a scan, and another FF is filling.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SCAN, _END = 0xDA, 0xD9
_SKIPPED = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Markers of segments. Behind others nothing is skipped, so that no scan is overlooked."""
_WIDTH, _LENGTH = 322, 323
_SHORT, _LONG = 3, 4


def too_laborious(data: bytes) -> str:
    """Why a JPEG or PNG would take long out of all proportion; `""` for everything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    return _png(data) if data.startswith(b"\x89PNG") else ""


def _jpeg(data: bytes) -> str:
    at, scans = 2, 0
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return ""
        if not scans and found.start() - at > _MOST_FILL:
            return f"its JPEG has over {_MOST_FILL:,} bytes of filling before a marker"
        at, code = found.end(), found.group(1)[0]
        if code == _END:
            return ""
        scans += code == _SCAN
        if scans > MOST_SCANS:
            return f"its JPEG has over {MOST_SCANS} scans"
        if code in _SKIPPED:
            at += int.from_bytes(data[at : at + 2])
    return f"its JPEG has over {MOST_SEGMENTS:,} segments"


def _png(data: bytes) -> str:
    at, texts = 8, 0
    for _ in range(MOST_CHUNKS):
        length, kind = data[at : at + 4], data[at + 4 : at + 8]
        if len(kind) < 4 or kind == b"IEND":
            return ""
        texts += kind in (b"zTXt", b"iTXt")
        if texts > MOST_TEXTS:
            return f"its PNG has over {MOST_TEXTS} packed texts"
        at += 12 + int.from_bytes(length)
    return f"its PNG has over {MOST_CHUNKS:,} chunks"


def tile(data: bytes) -> tuple[int, int]:
    """The largest tile width and length that the first directory of a TIFF names; 0 if none.

    Read from the bytes: of an entry that stands twice, Pillow tells the last and libtiff obeys the
    first. Raises `ValueError` for a size that is neither a SHORT nor a LONG, as TIFF demands.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return 0, 0
    big = data[2:4] in (b"+\0", b"\0+")
    at, count, step = (8, "Q", 20) if big else (4, "H", 12)
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
    found = {_WIDTH: 0, _LENGTH: 0}
    if first + 8 > len(data):
        return 0, 0
    (entries,) = struct.unpack_from(order + count, data, first)
    first += struct.calcsize(count)
    for place in range(first, min(first + entries * step, len(data) - step + 1), step):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag not in found:
            continue
        if kind not in (_SHORT, _LONG):
            raise ValueError(f"its TIFF gives a tile's size as type {kind}")
        form = order + ("H" if kind == _SHORT else "I")
        (value,) = struct.unpack_from(form, data, place + (12 if big else 8))
        found[tag] = max(found[tag], value)
    return found[_WIDTH], found[_LENGTH]
