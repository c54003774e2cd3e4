"""Decode the bytes of an image: check the header, decode completely, rotate, shrink.

An image that lacks over 5 % of its pixels is corrupt. Fewer, and every conversion (first frame,
CMYK, rotation, alpha), are noted. Most formats carry no checksum, so damage inside complete pixel
data, such as a flipped bit in a JPEG, may pass undetected.

    check_image(data, "a.jpg", limits)
    decoded = decode_image(data, "a.jpg", limits.max_pixels)
"""

import io
import math
import re
import struct
from dataclasses import dataclass, replace

from PIL import Image, features

from gen_msa.media import repair
from gen_msa.media.avif_cost import decoded_pixels
from gen_msa.media.errors import ErrorKind, ImageError, ImageLimits

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")

_SIGNATURES = {
    "JPEG": re.compile(repair.JPEG_START),
    "PNG": re.compile(rb"\x89PNG"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.S),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    "AVIF": re.compile(rb"....ftyp(....)*?avi[fs]", re.S),
}
_UNSUPPORTED_SIGNATURES = {
    "HEIC": re.compile(rb"....ftyp(....)*?(hei[cxms]|hev[cxms]|mif1|msf1)", re.S),
    "a video": re.compile(rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", re.S),
    "SVG": re.compile(
        rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?((<!--.*?-->|<!DOCTYPE svg[^>]*>)\s*)*<svg",
        re.S | re.I,
    ),
    "PDF": re.compile(rb"%PDF-"),
    "a ZIP archive": re.compile(rb"PK\x03\x04"),
    "compressed (gzip)": re.compile(rb"\x1f\x8b"),
    "Photoshop": re.compile(rb"8BPS"),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "ICO": re.compile(rb"\0\0\x01\0"),
}
_UNSUPPORTED_HINTS = {
    "HEIC": "gen_msa has no decoder of HEIC: save it as JPEG or PNG, e.g. on the phone",
    "SVG": "it is a drawing without pixels: export it as PNG",
    "a video": "save one picture of it as JPEG or PNG",
    "compressed (gzip)": "unpack it",
    "a ZIP archive": "unpack it",
}
_PIXEL_NAMES = {"F": "fractions", "I": "32-bit integers", "LAB": "CIE Lab", "HSV": "HSV"}
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
"""Pixels converted at a time, so that a large source is never held twice."""
_FRAME_COUNT_BYTES = {"TIFF": 256 << 10}
_FRAME_COUNT_BYTES_DEFAULT = 4 << 20
"""Largest file whose frames are counted: counting reads the whole file, for TIFF repeatedly."""

# Costs of decoding beyond width and height, read from the file's bytes alone.

MAX_JPEG_SCANS = 100
"""Encoders write about ten; libtiff sets the same limit for JPEG inside TIFF."""
MAX_JPEG_SEGMENTS = 1_000
"""Tables, scans and comments of a JPEG; 1,000 of them hold up to 64 MB."""
MAX_PNG_CHUNKS = 20_000
"""Chunks of a PNG."""
_MAX_JPEG_PADDING = 4_096
"""Bytes of padding before a marker. Pillow skips padding and segments one step at a time."""

_SKIPPABLE_MARKERS = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Markers of segments. After others nothing is skipped, so that no scan is missed."""
_TILE_WIDTH_TAG, _TILE_LENGTH_TAG = 322, 323
_SHORT, _LONG = 3, 4


def decompression_risk(data: bytes) -> str:
    """Return why a JPEG or PNG would take disproportionately long to decode; `""` if not."""
    if data.startswith(repair.JPEG_START):
        return _jpeg_risk(data)
    return _png_risk(data) if data.startswith(b"\x89PNG") else ""


def _jpeg_risk(data: bytes) -> str:
    offset, scans = 2, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = repair.JPEG_MARKER.search(data, offset)
        if marker is None:
            return ""
        if not scans and marker.start() - offset > _MAX_JPEG_PADDING:
            return f"its JPEG has over {_MAX_JPEG_PADDING:,} bytes of padding before a marker"
        offset, code = marker.end(), marker.group(1)[0]
        if code == repair.END_MARKER:
            return ""
        scans += code == repair.SCAN_MARKER
        if scans > MAX_JPEG_SCANS:
            return f"its JPEG has over {MAX_JPEG_SCANS} scans"
        if code in _SKIPPABLE_MARKERS:
            offset += int.from_bytes(data[offset : offset + 2])
    return f"its JPEG has over {MAX_JPEG_SEGMENTS:,} segments"


def _png_risk(data: bytes) -> str:
    offset = 8
    for _ in range(MAX_PNG_CHUNKS):
        length, kind = data[offset : offset + 4], data[offset + 4 : offset + 8]
        if len(kind) < 4 or kind == b"IEND":
            return ""
        offset += 12 + int.from_bytes(length)
    return f"its PNG has over {MAX_PNG_CHUNKS:,} chunks"


def tiff_tile_size(data: bytes) -> tuple[int, int]:
    """Return the largest tile width and length in the first directory of a TIFF; 0 if none.

    Read from the bytes: of a repeated entry Pillow reports the last and libtiff uses the first.

    Raises:
        ValueError: A size is neither a SHORT nor a LONG, as TIFF demands.
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


@dataclass(frozen=True)
class DecodedImage:
    """An RGB image within its budget, and notes on how it differs from the file."""

    image: Image.Image
    notes: dict[str, str]


def check_image(data: bytes, path: str, limits: ImageLimits) -> int:
    """Check size, shape and decoding cost of an image without decoding it.

    Args:
        data: Bytes of the file.
        path: Path for error messages.
        limits: Limits to check.

    Returns:
        Number of pixels in the file.

    Raises:
        ImageError: `not_an_image`, `corrupt`, `unsupported`, `too_large` or `too_small`.
    """
    if reason := decompression_risk(data):
        raise _image_error("too_large", path, reason, "save it again as a JPEG or PNG")
    data = repair.essentials(data)
    with _open_or_repair(data, path) as image:
        width, height = image.size
        is_avif = image.format == "AVIF"
    if is_avif:
        _check_avif(data, path, limits.max_source_pixels)
    short, long = sorted((width, height))
    _check_area(data, path, (width, height), limits.max_source_pixels)
    size = f"{width} x {height} pixels"
    if short < limits.min_side:
        reason = f"{size} has a side under {limits.min_side}"
        raise _image_error("too_small", path, reason, "use a larger image")
    if long > limits.max_ratio * short:
        reason = f"{size} is more than {limits.max_ratio:g} times as long as it is wide"
        raise _image_error("too_small", path, reason, "crop it, or raise max_ratio")
    return width * height


def _check_area(data: bytes, path: str, size: tuple[int, int], max_pixels: int) -> None:
    try:
        tile_size = tiff_tile_size(data)
    except ValueError as e:
        raise _corrupt_error(path, str(e)) from None
    for (w, h), unit in ((size, "pixels"), (tile_size, "pixels in a tile")):
        if w * h > max_pixels:
            reason = f"{w} x {h} {unit} is over the limit of {max_pixels}"
            raise _image_error("too_large", path, reason, "shrink it, or raise max_source_pixels")


def _check_avif(data: bytes, path: str, max_pixels: int) -> None:
    try:
        n_pixels = decoded_pixels(data)
    except ValueError as e:
        raise _corrupt_error(path, str(e)) from None
    if n_pixels > 2 * max_pixels:  # twice: transparency is a picture of its own
        reason = f"its AVIF decodes to {n_pixels} pixels, over the limit of {max_pixels}"
        raise _image_error("too_large", path, reason, "shrink it, or raise max_source_pixels")


def decode_image(data: bytes, path: str, max_pixels: int) -> DecodedImage:
    """Decode bytes that `check_image` has passed: first frame, upright, RGB.

    Args:
        data: Bytes of the file.
        path: Path for error messages.
        max_pixels: Largest width x height of the result.

    Returns:
        The image, scaled down if it has more than `max_pixels`, and notes on what was changed.

    Raises:
        ImageError: The pixels cannot be decoded to the end (`corrupt`), or their mode is
            `unsupported`.
    """
    data = repair.essentials(data)
    if repair.is_cut_jpeg(data):
        return _decode_repaired(data, path, max_pixels, _corrupt_error(path, "its end is missing"))
    try:
        decoded = _decode(data, path, max_pixels)
    except ImageError as error:
        if error.kind != "corrupt":
            raise
        return _decode_repaired(data, path, max_pixels, error)
    # Decoders fill up what a JPEG or PNG with an end lacks with one colour, and do not report it.
    if _ends_flat(decoded.image) and repair.lacks_pixels(data):
        return _decode_repaired(data, path, max_pixels, _corrupt_error(path, "pixels are missing"))
    return decoded


def _decode_repaired(data: bytes, path: str, max_pixels: int, error: ImageError) -> DecodedImage:
    """Decode a file of which the end is missing; raise `error` where that is not the problem."""
    try:
        repaired = repair.repair(data)
        if repaired is None or not _is_as_large(repaired.data, data, path):
            raise error
        decoded = _decode(repaired.data, path, max_pixels)
    except repair.MissingPixelsError as e:
        raise _corrupt_error(path, str(e)) from None
    except Exception:
        raise error from None
    return replace(decoded, notes=decoded.notes | {"completeness": repaired.note})


def _is_as_large(repaired_data: bytes, data: bytes, path: str) -> bool:
    """Return whether a repaired file costs no more than the one whose cost was checked."""
    with _open(repaired_data, path) as repaired, _open_or_repair(data, path) as image:
        is_larger = repaired.width > image.width or repaired.height > image.height
    return not is_larger and tiff_tile_size(repaired_data) == tiff_tile_size(data)


def _decode(data: bytes, path: str, max_pixels: int) -> DecodedImage:
    with _open(data, path) as image:
        mode = image.mode
        if mode in _PIXEL_NAMES:
            reason = f"its pixels are {_PIXEL_NAMES[mode]}"
            raise _image_error("unsupported", path, reason, "save it as 8-bit RGB")
        try:
            notes = _conversion_notes(image, len(data))
            orientation = _orientation(image)
            resized = _downscale(image, fit_size(*image.size, max_pixels), notes)
        # Pillow's decoders raise many kinds of errors for broken data; all mean that it is corrupt.
        except Exception as e:
            raise _corrupt_error(path, f"{type(e).__name__}: {e}") from e
        is_upright = image.format == "TIFF"  # Pillow rotates these itself
    if orientation in _EXIF_TRANSPOSES:
        notes["rotation"] = "exif rotated"
        if not is_upright:
            resized = resized.transpose(_EXIF_TRANSPOSES[orientation])
    return DecodedImage(resized, notes)


def _orientation(image: Image.Image) -> int:
    """Return the orientation in the EXIF data; 1 (upright) where they cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Pillow's parser raises many kinds of errors; viewers ignore the block
        return 1


def _ends_flat(image: Image.Image) -> bool:
    """Return whether the last row, or the side that it became by a rotation, has one colour.

    An image that lacks data looks like that, and many that lack none.
    """
    w, h = image.size
    for box in ((0, 0, w, 1), (0, h - 1, w, h), (0, 0, 1, h), (w - 1, 0, w, h)):
        colours = image.crop(box).getcolors(1)
        if colours is not None:
            return True
    return False


def fit_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Return the largest size of the same shape within `max_pixels`; never larger than before.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        max_pixels: Largest width x height.
    """
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    fit_width, fit_height = max(1, int(width * scale)), max(1, int(height * scale))
    return (
        (min(fit_width, max_pixels), 1)
        if fit_height == 1
        else (fit_width, min(fit_height, max_pixels // fit_width))
    )


def _open(data: bytes, path: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise _image_error("too_large", path, str(e), "shrink it") from None
    except Exception as e:  # an unknown or broken header
        raise _open_error(data, path, e) from e


def _open_or_repair(data: bytes, path: str) -> Image.Image:
    """Open an image by its header; of formats that are opened only when complete, repaired."""
    try:
        return _open(data, path)
    except ImageError as error:
        is_whole_only = data[:4] == b"RIFF" or data[4:8] == b"ftyp"
        repaired = repair.pad(data) if error.kind == "corrupt" and is_whole_only else None
        if repaired is None:
            raise
        try:
            return _open(repaired.data, path)
        except ImageError:
            raise error from None


def _open_error(data: bytes, path: str, error: Exception) -> ImageError:
    head = data[:512]
    if not data:
        return _corrupt_error(path, "the file is empty")
    for name, signature in _SIGNATURES.items():
        if signature.match(head):
            if name == "AVIF" and not features.check("avif"):
                hint = "install Pillow from its wheel, or save the image as JPEG or PNG"
                return _image_error("unsupported", path, "this Pillow reads no AVIF", hint)
            return _corrupt_error(path, f"its {name} header is broken{_header_problem(data, name)}")
    for name, signature in _UNSUPPORTED_SIGNATURES.items():
        if signature.match(head):
            hint = _UNSUPPORTED_HINTS.get(name, "save it as JPEG or PNG")
            return _image_error("unsupported", path, f"it is {name}", hint)
    is_markup = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    reason = "it is a web page or XML" if is_markup else "no image format begins like this"
    return _image_error(
        "not_an_image", path, reason, f"download it again; supported: {', '.join(FORMATS)}"
    )


def _header_problem(data: bytes, name: str) -> str:
    """Return the problem that the format's own plugin has, which `Image.open` does not tell."""
    try:
        Image.OPEN[name][0](io.BytesIO(data), "")
    except Exception as e:
        return f" ({type(e).__name__}: {e})"
    return ""


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
    """Return the image as RGB at `size`; a JPEG is already shrunk while it is decoded."""
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
    if image.mode.startswith("I;16"):  # a plain convert clips values over 255
        image = image.convert("I").point(lambda v: v * (1 / 256) + 0).convert("L")
        image.info.pop("transparency", None)  # a 16-bit transparent colour has no 8-bit value
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
    hint = "download or export the image again"
    return ImageError("corrupt", path, f"the image is broken: {reason}", hint)
