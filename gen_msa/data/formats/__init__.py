"""File formats of examples. A format is a module here, with the name that users give.

Every format reads lazily and yields bad rows as `Rejected`. What it writes, it reads back equal; a
field that it cannot store is a `UserError` that names the field.

    for row in formats["tombert_tsv"].read(Path("dev.tsv")): ...
"""

from gen_msa.data.formats._common import locate_aspects
from gen_msa.data.formats._simple import SimpleRow
from gen_msa.data.formats.base import (
    Format,
    ReadOptions,
    format_by_suffix,
    format_of,
    format_of_file,
    formats,
    read_file,
)
from gen_msa.data.formats.keys import intended_key
from gen_msa.data.formats.labels import LabelMap, parse_label_map

__all__ = [
    "Format",
    "LabelMap",
    "ReadOptions",
    "SimpleRow",
    "format_by_suffix",
    "format_of",
    "format_of_file",
    "formats",
    "intended_key",
    "locate_aspects",
    "parse_label_map",
    "read_file",
]
