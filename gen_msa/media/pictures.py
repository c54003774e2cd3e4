"""Bytes to a small RGB picture: judged from the header, decoded whole, turned, shrunk.

Knows nothing of files or networks. A truncated picture is corrupt, never half grey; what was
changed on the way (first frame, CMYK, rotation, alpha) is noted. Most formats carry no checksum, so
damage inside complete pixel data, such as a flipped bit in a JPEG, may pass unseen.

    check(data, "a.jpg", limits); decoded = decode(data, "a.jpg", limits.max_pixels)
"""

import io
import math
import re
from dataclasses import dataclass

from PIL import Image

from gen_msa.media import _costs
from gen_msa.media._problem import Kind, PictureLimits, PictureProblem

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")

_KNOWN = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF....WEBP|BM|II\*\0|MM\0\*|II\+\0|MM\0\+", re.S
)
_OTHERS = {
    "HEIC or AVIF": re.compile(rb"....ftyp", re.S),
    "SVG": re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", re.S | re.I),
    "PDF": re.compile(rb"%PDF-"),
    "Photoshop": re.compile(rb"8BPS"),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "ICO": re.compile(rb"\0\0\x01\0"),
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_BAND = 1 << 22
"""Pixels that are converted at a time, so that a large source is never held twice."""
_COUNTED = {"TIFF": 256 << 10}
_COUNTED_ELSE = 4 << 20
"""Bytes of a file whose frames are counted; counting walks the whole file, TIFF's again and again.
"""


@dataclass(frozen=True)
class Decoded:
    """An RGB picture within its budget, and what was done to the file's own pixels."""

    image: Image.Image
    notes: dict[str, str]


def check(data: bytes, path: str, limits: PictureLimits) -> int:
    """Judge size, shape and what decoding would cost; returns its pixels, none of them decoded.

    Raises `PictureProblem`: not_a_picture, corrupt, unsupported, too_large, too_small.
    """
    if reason := _costs.too_laborious(data):
        raise _problem("too_large", path, reason, "save it again as a JPEG or PNG")
    with _open(data, path) as image:
        wide, high = image.size
    short, long = sorted((wide, high))
    _check_area(data, path, (wide, high), limits.max_source_pixels)
    size = f"{wide} x {high} pixels"
    if short < limits.min_side:
        reason = f"{size} has a side under {limits.min_side}"
        raise _problem("too_small", path, reason, "use a larger picture")
    if long > limits.max_ratio * short:
        reason = f"{size} is more than {limits.max_ratio:g} times as long as it is wide"
        raise _problem("too_small", path, reason, "crop it, or raise max_ratio")
    return wide * high


def _check_area(data: bytes, path: str, size: tuple[int, int], most: int) -> None:
    try:
        tile = _costs.tile(data)
    except ValueError as e:
        raise _corrupt(path, str(e)) from None
    for (w, h), what in ((size, "pixels"), (tile, "pixels in a tile")):
        if w * h > most:
            reason = f"{w} x {h} {what} is over the limit of {most}"
            raise _problem("too_large", path, reason, "shrink it, or raise max_source_pixels")


def decode(data: bytes, path: str, max_pixels: int) -> Decoded:
    """Decode bytes that `check` has passed: first frame, upright, RGB, at most `max_pixels`.

    Raises `PictureProblem("corrupt")` for pixels that cannot be read to the end.
    """
    with _open(data, path) as image:
        mode = image.mode
        if mode in ("F", "I", "LAB", "HSV"):
            raise _problem("unsupported", path, f"its pixels are {mode}", "save it as 8-bit RGB")
        try:
            notes = _notes(image, len(data))
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            small = _shrunk(image, target(*image.size, max_pixels), notes)
        # Pillow's decoders raise whatever the broken bytes lead them to; all of it means one thing.
        except Exception as e:
            raise _corrupt(path, f"{type(e).__name__}: {e}") from e
    if turn is not None:
        notes["rotation"] = "exif rotated"
        small = small.transpose(turn)
    return Decoded(small, notes)


def target(wide: int, high: int, max_pixels: int) -> tuple[int, int]:
    """The largest size of the same shape that fits `max_pixels`; never larger than it was."""
    if wide * high <= max_pixels:
        return wide, high
    scale = math.sqrt(max_pixels / (wide * high))
    w, h = max(1, int(wide * scale)), max(1, int(high * scale))
    return (min(w, max_pixels), 1) if h == 1 else (w, min(h, max_pixels // w))


def _open(data: bytes, path: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise _problem("too_large", path, str(e), "shrink it") from None
    except Exception as e:  # an unknown or broken header, in any of six formats
        raise _unopened(data, path, e) from e


def _unopened(data: bytes, path: str, error: Exception) -> PictureProblem:
    head = data[:512]
    if not data:
        return _corrupt(path, "the file is empty")
    if _KNOWN.match(head):
        return _corrupt(path, f"its header is broken ({type(error).__name__})")
    for name, begin in _OTHERS.items():
        if begin.match(head):
            return _problem("unsupported", path, f"it is {name}", "save it as JPEG or PNG")
    page = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    reason = "it is a web page or XML" if page else "no picture format begins like this"
    return _problem("not_a_picture", path, reason, f"download it again; read: {', '.join(FORMATS)}")


def _notes(image: Image.Image, size: int) -> dict[str, str]:
    notes = {}
    if getattr(image, "is_animated", False):
        counted = size < _COUNTED.get(image.format or "", _COUNTED_ELSE)
        count = f"of {getattr(image, 'n_frames', 1)} frames" if counted else "frame"
        notes["frames"] = f"animated: first {count}"
    if image.mode == "CMYK":
        notes["colour"] = "cmyk converted"
    if image.mode.startswith("I;16"):
        notes["colour"] = "16 bits scaled to 8"
    return notes


def _shrunk(image: Image.Image, size: tuple[int, int], notes: dict[str, str]) -> Image.Image:
    """The picture as RGB at `size`; a JPEG is already shrunk while it is decoded."""
    image.draft(None, (size[0] * 2, size[1] * 2))
    image.load()
    factor = max(1, min(image.width // (size[0] * 2), image.height // (size[1] * 2)))
    small = _by_bands(image, factor, notes) if factor > 1 else _rgb(image, notes)
    return small if small.size == size else small.resize(size, Image.Resampling.BICUBIC)


def _by_bands(image: Image.Image, factor: int, notes: dict[str, str]) -> Image.Image:
    """Average `factor` x `factor` pixels into one, a band of rows at a time."""
    wide, high = image.size
    out = Image.new("RGB", (-(-wide // factor), -(-high // factor)))
    rows = max(1, _BAND // wide // factor) * factor
    for top in range(0, high, rows):
        band = image.crop((0, top, wide, min(top + rows, high)))
        out.paste(_rgb(band, notes).reduce(factor), (0, top // factor))
    return out


def _rgb(image: Image.Image, notes: dict[str, str]) -> Image.Image:
    if image.mode.startswith("I;16"):  # a plain convert would clip every value over 255 to white
        image = image.convert("I").point(lambda v: v * (1 / 256) + 0).convert("L")
        image.info.pop("transparency", None)  # a 16-bit key colour means nothing in 8 bits
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        alpha = layer.getchannel("A")
        if alpha.getextrema() != (255, 255):
            notes["alpha"] = "alpha on white"
            white = Image.new("RGB", layer.size, "white")
            white.paste(layer, mask=alpha)
            return white
        return layer.convert("RGB")
    return image.convert("RGB")


def _problem(kind: Kind, path: str, reason: str, mend: str) -> PictureProblem:
    return PictureProblem(kind, path, reason, mend)


def _corrupt(path: str, reason: str) -> PictureProblem:
    mend = "download or export the picture again"
    return PictureProblem("corrupt", path, f"the picture is broken: {reason}", mend)
