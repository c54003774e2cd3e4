"""Read from an AVIF's bytes how many pixels its decoder will hold.

The size in the container, which is all that Pillow reports, binds no decoder: the AV1 data inside
says for itself how large its frames are.

    decoded_pixels(data)    # 12_000_000
"""

from collections.abc import Iterator

_BOX_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_MAX_BOXES = 10_000
_SEQUENCE_HEADER = 1
_MAX_HEADER_BYTES = 512
_LAST_LEVEL_WITHOUT_TIER = 7

_Box = tuple[bytes, int, int]


def decoded_pixels(data: bytes) -> int:
    """Return the pixels of all frames that a decoder of the first picture may hold.

    Args:
        data: Bytes of the file.

    Raises:
        ValueError: The file is broken, or its form is one that hides its size.
    """
    try:
        boxes = list(_boxes(data, 0, len(data), [_MAX_BOXES]))
        extents = [e for box in boxes if box[0] == b"iloc" for e in _item_extents(data, box, boxes)]
        extents += [e for box in boxes for e in _first_chunk(data, box)]
        sizes = [_frame_pixels(data[start : start + length]) for start, length in extents]
    except IndexError:
        raise ValueError("its AVIF boxes are broken") from None
    return sum(sizes)


def _boxes(data: bytes, start: int, end: int, budget: list[int]) -> Iterator[_Box]:
    """Yield kind, start and end of the content of every box, containers after their kind."""
    while start + 8 <= end:
        budget[0] -= 1
        if budget[0] < 0:
            raise ValueError(f"its AVIF has over {_MAX_BOXES:,} boxes")
        size, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        content = start + 8
        if size == 1:
            size, content = int.from_bytes(data[start + 8 : start + 16]), start + 16
        stop = end if size == 0 else min(start + size, end)
        if stop < content:
            return
        yield kind, content, stop
        if kind == b"meta":
            yield from _boxes(data, content + 4, stop, budget)
        elif kind in _BOX_CONTAINERS:
            yield from _boxes(data, content, stop, budget)
        start = stop


def _item_extents(data: bytes, iloc: _Box, boxes: list[_Box]) -> Iterator[tuple[int, int]]:
    """Yield start and length of the AV1 data of every item; `iloc` lists where items lie."""
    coded_items = _coded_items(data, boxes)
    item_data_start = next((start for kind, start, _ in boxes if kind == b"idat"), 0)
    _, at, _ = iloc
    version, sizes = data[at], int.from_bytes(data[at + 4 : at + 6])
    offset_size, length_size = sizes >> 12, sizes >> 8 & 15
    base_size, index_size = sizes >> 4 & 15, sizes & 15 if version else 0
    at += 6
    id_size = 4 if version == 2 else 2
    count, at = _number(data, at, id_size)
    for _ in range(min(count, _MAX_BOXES)):
        item, at = _number(data, at, id_size)
        method, at = _number(data, at, 2) if version else (0, at)
        base, at = _number(data, at + 2, base_size)
        n_extents, at = _number(data, at, 2)
        pieces = []
        for _ in range(n_extents):
            offset, at = _number(data, at + index_size, offset_size)
            length, at = _number(data, at, length_size)
            pieces.append((base + offset + (item_data_start if method else 0), length))
        if item not in coded_items:
            continue
        if len(pieces) != 1:
            raise ValueError("its AVIF keeps a picture in several pieces")
        start, length = pieces[0]
        yield start, length or len(data) - start


def _coded_items(data: bytes, boxes: list[_Box]) -> set[int]:
    """Return the ids of items that hold AV1 data."""
    items = set()
    for kind, start, _ in boxes:
        if kind != b"iinf":
            continue
        at = start + (6 if data[start] == 0 else 8)
        for entry, content, _ in _boxes(data, at, len(data), [_MAX_BOXES]):
            if entry != b"infe":
                break
            id_size = 4 if data[content] == 3 else 2
            item, after = _number(data, content + 4, id_size)
            if data[after + 2 : after + 6] == b"av01":
                items.add(item)
    return items


def _first_chunk(data: bytes, box: _Box) -> Iterator[tuple[int, int]]:
    """Yield where the first frame of a track of an animation begins."""
    kind, start, _ = box
    if kind in (b"stco", b"co64") and int.from_bytes(data[start + 4 : start + 8]):
        offset = _number(data, start + 8, 4 if kind == b"stco" else 8)[0]
        yield offset, len(data) - offset


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    if at + size > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + size]), at + size


def _frame_pixels(units: bytes) -> int:
    """Return the most pixels that a frame of AV1 data may have, by its sequence headers."""
    at, largest = 0, 0
    while at < len(units):
        kind, has_extension, has_size = units[at] >> 3 & 15, units[at] >> 2 & 1, units[at] >> 1 & 1
        at += 1 + has_extension
        size, at = _leb128(units, at) if has_size else (len(units) - at, at)
        if kind == _SEQUENCE_HEADER:
            largest = max(largest, _sequence_pixels(units[at : at + size]))
        at += size
    return largest


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(8):
        value |= (data[at + n] & 127) << 7 * n
        if not data[at + n] & 128:
            return value, at + n + 1
    raise IndexError(at)


class _Bits:
    """Reads numbers of so many bits; raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def read(self, n_bits: int) -> int:
        start, self._at = self._at, self._at + n_bits
        if self._at > len(self._bits):
            raise IndexError(self._at)
        return int(self._bits[start : self._at] or "0", 2)

    def skip_unary(self) -> None:
        """Skip a number whose length stands before it as zeros."""
        n_zeros = 0
        while not self.read(1):
            n_zeros += 1
        self.read(n_zeros)


def _sequence_pixels(header: bytes) -> int:
    """Return the largest frame of a sequence header (AV1 specification, 5.5)."""
    bits = _Bits(header[:_MAX_HEADER_BYTES])
    bits.read(4)  # profile, still picture
    is_reduced = bits.read(1)
    if is_reduced:
        bits.read(5)  # level
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    if not is_reduced:  # a frame may then give a size of its own, in as many bits
        return 1 << width_bits + height_bits
    return (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    """Skip timing and operating points, which stand before the frame's size."""
    delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):
            bits.skip_unary()
        if bits.read(1):  # decoder model
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > _LAST_LEVEL_WITHOUT_TIER:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
