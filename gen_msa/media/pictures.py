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
from gen_msa.media._problem import ErrorKind, ImageLimits, ImageError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")

_SUPPORTED_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF....WEBP|BM|II\*\0|MM\0\*|II\+\0|MM\0\+", re.S
)
_UNSUPPORTED_SIGNATURES = {
    "HEIC or AVIF": re.compile(rb"....ftyp", re.S),
    "SVG": re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", re.S | re.I),
    "PDF": re.compile(rb"%PDF-"),
    "Photoshop": re.compile(rb"8BPS"),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "ICO": re.compile(rb"\0\0\x01\0"),
}
_EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
_BAND_PIXELS = 1 << 22
"""Pixels that are converted at a time, so that a large source is never held twice."""
_FRAME_COUNT_BYTES = {"TIFF": 256 << 10}
_FRAME_COUNT_BYTES_DEFAULT = 4 << 20
"""Bytes of a file whose frames are counted; counting walks the whole file, TIFF's again and again.
"""


@dataclass(frozen=True)
class DecodedImage:
    """An RGB picture within its budget, and what was done to the file's own pixels."""

    image: Image.Image
    notes: dict[str, str]


def check_image(data: bytes, path: str, limits: ImageLimits) -> int:
    """Judge size, shape and what decoding would cost; returns its pixels, none of them decoded.

    Raises `PictureProblem`: not_a_picture, corrupt, unsupported, too_large, too_small.
    """
    if reason := _costs.decompression_risk(data):
        raise _image_error("too_large", path, reason, "save it again as a JPEG or PNG")
    with _open(data, path) as image:
        width, height = image.size
    short, long = sorted((width, height))
    _check_area(data, path, (width, height), limits.max_source_pixels)
    size = f"{width} x {height} pixels"
    if short < limits.min_side:
        reason = f"{size} has a side under {limits.min_side}"
        raise _image_error("too_small", path, reason, "use a larger picture")
    if long > limits.max_ratio * short:
        reason = f"{size} is more than {limits.max_ratio:g} times as long as it is wide"
        raise _image_error("too_small", path, reason, "crop it, or raise max_ratio")
    return width * height


def _check_area(data: bytes, path: str, size: tuple[int, int], max_pixels: int) -> None:
    try:
        tile_size = _costs.tiff_tile_size(data)
    except ValueError as e:
        raise _corrupt_error(path, str(e)) from None
    for (w, h), unit in ((size, "pixels"), (tile_size, "pixels in a tile")):
        if w * h > max_pixels:
            reason = f"{w} x {h} {unit} is over the limit of {max_pixels}"
            raise _image_error("too_large", path, reason, "shrink it, or raise max_source_pixels")


def decode_image(data: bytes, path: str, max_pixels: int) -> DecodedImage:
    """Decode bytes that `check` has passed: first frame, upright, RGB, at most `max_pixels`.

    Raises `PictureProblem("corrupt")` for pixels that cannot be read to the end.
    """
    with _open(data, path) as image:
        mode = image.mode
        if mode in ("F", "I", "LAB", "HSV"):
            raise _image_error("unsupported", path, f"its pixels are {mode}", "save it as 8-bit RGB")
        try:
            notes = _conversion_notes(image, len(data))
            transpose = _EXIF_TRANSPOSES.get(image.getexif().get(_ORIENTATION_TAG, 1))
            resized = _downscale(image, fit_size(*image.size, max_pixels), notes)
        # Pillow's decoders raise whatever the broken bytes lead them to; all of it means one thing.
        except Exception as e:
            raise _corrupt_error(path, f"{type(e).__name__}: {e}") from e
    if transpose is not None:
        notes["rotation"] = "exif rotated"
        resized = resized.transpose(transpose)
    return DecodedImage(resized, notes)


def fit_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The largest size of the same shape that fits `max_pixels`; never larger than it was."""
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    fit_width, fit_height = max(1, int(width * scale)), max(1, int(height * scale))
    return (min(fit_width, max_pixels), 1) if fit_height == 1 else (fit_width, min(fit_height, max_pixels // fit_width))


def _open(data: bytes, path: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise _image_error("too_large", path, str(e), "shrink it") from None
    except Exception as e:  # an unknown or broken header, in any of six formats
        raise _open_error(data, path, e) from e


def _open_error(data: bytes, path: str, error: Exception) -> ImageError:
    head = data[:512]
    if not data:
        return _corrupt_error(path, "the file is empty")
    if _SUPPORTED_SIGNATURES.match(head):
        return _corrupt_error(path, f"its header is broken ({type(error).__name__})")
    for name, signature in _UNSUPPORTED_SIGNATURES.items():
        if signature.match(head):
            return _image_error("unsupported", path, f"it is {name}", "save it as JPEG or PNG")
    is_markup = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    reason = "it is a web page or XML" if is_markup else "no picture format begins like this"
    return _image_error("not_a_picture", path, reason, f"download it again; read: {', '.join(FORMATS)}")


def _conversion_notes(image: Image.Image, size: int) -> dict[str, str]:
    notes = {}
    if getattr(image, "is_animated", False):
        can_count = size < _FRAME_COUNT_BYTES.get(image.format or "", _FRAME_COUNT_BYTES_DEFAULT)
        count = f"of {getattr(image, 'n_frames', 1)} frames" if can_count else "frame"
        notes["frames"] = f"animated: first {count}"
    if image.mode == "CMYK":
        notes["colour"] = "cmyk converted"
    if image.mode.startswith("I;16"):
        notes["colour"] = "16 bits scaled to 8"
    return notes


def _downscale(image: Image.Image, size: tuple[int, int], notes: dict[str, str]) -> Image.Image:
    """The picture as RGB at `size`; a JPEG is already shrunk while it is decoded."""
    image.draft(None, (size[0] * 2, size[1] * 2))
    image.load()
    factor = max(1, min(image.width // (size[0] * 2), image.height // (size[1] * 2)))
    resized = _by_bands(image, factor, notes) if factor > 1 else _to_rgb(image, notes)
    return resized if resized.size == size else resized.resize(size, Image.Resampling.BICUBIC)


def _by_bands(image: Image.Image, factor: int, notes: dict[str, str]) -> Image.Image:
    """Average `factor` x `factor` pixels into one, a band of rows at a time."""
    width, height = image.size
    reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, _BAND_PIXELS // width // factor) * factor
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        reduced.paste(_to_rgb(band, notes).reduce(factor), (0, top // factor))
    return reduced


def _to_rgb(image: Image.Image, notes: dict[str, str]) -> Image.Image:
    if image.mode.startswith("I;16"):  # a plain convert would clip every value over 255 to white
        image = image.convert("I").point(lambda v: v * (1 / 256) + 0).convert("L")
        image.info.pop("transparency", None)  # a 16-bit key colour means nothing in 8 bits
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        if alpha.getextrema() != (255, 255):
            notes["alpha"] = "alpha on white"
            white = Image.new("RGB", rgba.size, "white")
            white.paste(rgba, mask=alpha)
            return white
        return rgba.convert("RGB")
    return image.convert("RGB")


def _image_error(kind: ErrorKind, path: str, reason: str, hint: str) -> ImageError:
    return ImageError(kind, path, reason, hint)


def _corrupt_error(path: str, reason: str) -> ImageError:
    hint = "download or export the picture again"
    return ImageError("corrupt", path, f"the picture is broken: {reason}", hint)
