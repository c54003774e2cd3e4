"""Decode the columns of a Parquet file as `datasets` of Hugging Face writes them.

Integers of a `ClassLabel` become its names. Images (`{bytes, path}`) become paths: bytes are stored
below the media root by their hash. Other columns of bytes are left out and announced.

    decoder = ColumnDecoder(path, file.schema_arrow, ReadOptions())
    for row in rows: decoder.decode(row)
"""

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic_core import from_json

from gen_msa.data.formats._flat import ASPECT_KEYS
from gen_msa.data.formats.base import ReadOptions
from gen_msa.data.formats.labels import parse_polarity
from gen_msa.errors import InputWarning, UserError
from gen_msa.jsonl import MAX_LINE_BYTES
from gen_msa.media import ImageError, store_bytes

_IMAGE_COLUMNS = ("image", "images")
_MAX_TEXT_CHARS = 8 * MAX_LINE_BYTES
"""Characters of all texts of a row; a dictionary makes gigabytes of a file of a kilobyte."""


def check_text_size(row: Mapping[str, Any]) -> None:
    """Refuse a row whose texts are over the limit.

    Raises:
        ValueError: They are.
    """
    if _finite(dict(row))[1] > _MAX_TEXT_CHARS:
        raise ValueError(f"the texts of the row are over the limit of {_MAX_TEXT_CHARS}")


Decode = Callable[[Any], Any]


class ColumnDecoder:
    """Turns the values of a row into what simple rows hold."""

    def __init__(self, path: Path, schema: pa.Schema, options: ReadOptions) -> None:
        """Decide how each column is decoded.

        Args:
            path: The file, for messages.
            schema: Its schema.
            options: Names of columns, and the media root.
        """
        self._path = path
        self._root = options.media_root or path.parent
        features = _features(schema)
        self._decoders: dict[str, Decode] = {
            name: _by_label_names(feature) for name, feature in features.items()
        }
        image_columns = [f.name for f in schema if _is_image(f.type)]
        named = {options.columns.get(c, c) for c in _IMAGE_COLUMNS}
        self._images = [n for n in image_columns if n in named] or image_columns[:1]
        self._images += [f.name for f in schema if f.name in named and _is_binary(f.type)]
        left_out = [f.name for f in schema if _holds_binary(f.type) and f.name not in self._images]
        self.names = [n for n in schema.names if n not in left_out]
        """Columns that are read."""
        if left_out:
            count = f"{len(left_out)} column{'s' * (len(left_out) > 1)} of bytes"
            note = f"{path}: {count} not read: {', '.join(left_out)}"
            warnings.warn(InputWarning(note, column=len(left_out)), stacklevel=2)
        self.renamed = {
            **dict.fromkeys(set(self._images) - named, "images"),
            **_polarity_column(schema, features, options),
        }
        """Columns that are read under another name, because of their type."""
        for column, name in self.renamed.items():
            note = f"{path}: column {column!r} is read as {name}"
            warnings.warn(note, InputWarning, stacklevel=2)

    def decode(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row without empty cells.

        Args:
            row: The row as Arrow gives it.

        Raises:
            ValueError: An image is neither bytes nor a path, or the texts are over the limit.
        """
        check_text_size({k: v for k, v in row.items() if k not in self._images})
        decoded: dict[str, Any] = {}
        for name, value in row.items():
            if name in self._images:
                value = self._decode_image(value)
            elif name in self._decoders:
                value = self._decoders[name](value)
            value, _ = _finite(value)
            if value is not None:
                decoded[self.renamed.get(name, name)] = value
        return decoded

    def _decode_image(self, value: Any) -> Any:
        """Return the path of an image, or the paths of several."""
        if isinstance(value, list):
            return [path for v in value if (path := self._decode_image(v)) is not None]
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            return value.get("path") if isinstance(value, dict) else value
        try:
            return store_bytes(data, self._root)
        except (OSError, ImageError) as e:
            raise UserError(
                f"images of {self._path} cannot be stored below {self._root}: {e}",
                hint="give a folder that can be written: --media-root",
            ) from None


def _is_image(type_: pa.DataType) -> bool:
    """Return whether a column holds images of `datasets`, or lists of them."""
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return _is_image(type_.value_type)
    return pa.types.is_struct(type_) and {f.name for f in type_} == {"bytes", "path"}


def _is_binary(type_: pa.DataType) -> bool:
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return _is_binary(type_.value_type)
    if pa.types.is_dictionary(type_):
        return _is_binary(type_.value_type)
    return bool(
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_fixed_size_binary(type_)
    )


def _holds_binary(type_: pa.DataType) -> bool:
    children = (type_.field(i).type for i in range(type_.num_fields))
    return _is_binary(type_) or any(_holds_binary(t) for t in children)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return the features that `datasets` wrote into the schema, by column."""
    try:
        info = from_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info.get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    return features if isinstance(features, dict) else {}


def _label_names(feature: Any) -> list[str]:
    """Return the names of a `ClassLabel`; [] for any other feature."""
    is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    names = feature.get("names") if is_label else None
    return [str(n) for n in names] if isinstance(names, list) else []


def _by_label_names(feature: Any) -> Decode:
    """Return the function that puts names in place of the integers of a feature."""
    if names := _label_names(feature):
        return lambda value: _label_name(value, names)
    if isinstance(feature, list) and len(feature) == 1:
        return _each(_by_label_names(feature[0]))
    if isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        inner = feature.get("feature")
        return _each(_by_label_names(inner)) if inner is not None else _same
    if isinstance(feature, dict) and "_type" not in feature:
        inner_decoders = {k: _by_label_names(v) for k, v in feature.items()}
        return lambda value: _decode_struct(value, inner_decoders)
    return _same


def _same(value: Any) -> Any:
    return value


def _each(decode: Decode) -> Decode:
    def decode_list(value: Any) -> Any:
        return [decode(v) for v in value] if isinstance(value, list) else decode(value)

    return decode_list


def _decode_struct(value: Any, decoders: Mapping[str, Decode]) -> Any:
    if not isinstance(value, dict):
        return value
    return {k: decoders[k](v) if k in decoders else v for k, v in value.items()}


def _label_name(value: Any, names: list[str]) -> Any:
    """Return the name of a class; None for -1, which stands for no label."""
    if type(value) is not int:
        return value
    return names[value] if 0 <= value < len(names) else None if value == -1 else value


def _polarity_column(
    schema: pa.Schema, features: Mapping[str, Any], options: ReadOptions
) -> dict[str, str]:
    """Return the column whose classes are polarities, as `polarity`, unless rows name aspects."""
    taken = {"polarity", "aspects", *ASPECT_KEYS}
    if taken & {*schema.names, *options.columns}:
        return {}
    columns = [
        name
        for name in schema.names
        if (labels := _label_names(features.get(name))) and all(map(parse_polarity, labels))
    ]
    return {columns[0]: "polarity"} if len(columns) == 1 else {}


def _finite(value: Any) -> tuple[Any, int]:
    """Return a value without NaN, and the number of characters of its texts."""
    if isinstance(value, str):
        return value, len(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None, 0
    if isinstance(value, list):
        pairs = [_finite(v) for v in value]
        return [v for v, _ in pairs], sum(n for _, n in pairs)
    if isinstance(value, dict):
        parts = {k: _finite(v) for k, v in value.items()}
        return {k: v for k, (v, _) in parts.items()}, sum(n for _, n in parts.values())
    return value, 0
