"""Parquet: examples with nested columns, or simple rows of a user's own.

Every example can be stored. `media`, `aspects` and `opinions` are lists of structs that a data
frame can unnest; `parse`, `meta` and `provenance` are JSON text, because their keys differ from row
to row. A file without these columns is read as simple rows (see `_simple`). Reads and writes one
batch of rows at a time.

    import pandas; pandas.read_parquet("posts.parquet")[["id", "text", "opinions"]]
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from gen_msa.data.formats._common import reject_row, round_trip_error
from gen_msa.data.formats._flat import ASPECT_KEYS, to_record
from gen_msa.data.formats._simple import SimpleRow
from gen_msa.data.formats._table import TableRecord
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.data.formats.csv import PostJoiner
from gen_msa.errors import UserError
from gen_msa.jsonl import atomic_write, format_validation_error
from gen_msa.types import Example, Polarity, Rejected

_BATCH_ROWS = 500
"""Rows in memory at a time; also the size of a row group."""

_ASPECT = pa.struct([("term", pa.string()), ("start", pa.int64())])
_MEDIA = pa.struct([("kind", pa.string()), ("path", pa.string()), ("key", pa.string())])
_EVIDENCE = pa.struct([("quote", pa.string()), ("start", pa.int64()), ("source", pa.string())])
_OPINION = pa.struct(
    [
        ("annotator", pa.string()),
        ("aspect", _ASPECT),
        ("polarity", pa.string()),
        ("score", pa.float64()),
        ("probs", pa.struct([(p.value, pa.float64()) for p in Polarity])),
        ("explanation", pa.string()),
        ("evidence", pa.list_(_EVIDENCE)),
        ("raw", pa.string()),
        ("status", pa.string()),
        ("provenance", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("media", pa.list_(_MEDIA)),
        ("aspects", pa.list_(_ASPECT)),
        ("parse", pa.string()),
        ("meta", pa.string()),
        ("opinions", pa.list_(_OPINION)),
    ]
)

_ANY_ADAPTER = TypeAdapter(Any)


@formats.register
class Parquet:
    """Reads and writes Parquet."""

    suffixes: tuple[str, ...] = (".parquet",)
    about = "Parquet with one row per post, lossless; or a table with a `text` column."

    def read(self, path: Path) -> ExampleStream:
        """Read every row, in order.

        Raises:
            UserError: The file is not Parquet, or has no column `text`.
        """
        try:
            file = pq.ParquetFile(path, memory_map=False)
            names = file.schema_arrow.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
            raise UserError(f"{path} cannot be read as Parquet: {e}") from None
        with file:
            if "text" not in names:
                raise UserError(f"{path} has no column 'text'", hint=f"it has {', '.join(names)}")
            is_simple = set(names) != set(SCHEMA.names)
            if is_simple and "aspects" not in names and set(names) & set(ASPECT_KEYS):
                yield from PostJoiner(path, _flat_records(path, file))
                return
            for number, row in _numbered_rows(path, file):
                if isinstance(row, Rejected):
                    yield row
                else:
                    yield (
                        _simple_example(path, number, row)
                        if is_simple
                        else _example(path, number, row)
                    )

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one row per example.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: A value cannot be stored.
        """
        remaining = iter(examples)
        with atomic_write(path) as f, pq.ParquetWriter(f, SCHEMA, compression="zstd") as writer:
            while batch := list(islice(remaining, _BATCH_ROWS)):
                writer.write_table(_table(path, batch))


def _table(path: Path, batch: list[Example]) -> pa.Table:
    """Return a batch as a table, after checking that it is read back equal."""
    try:
        table = pa.Table.from_pylist([_row(e) for e in batch], SCHEMA)
    except (pa.ArrowException, OverflowError) as e:
        ids = f"{batch[0].post.id!r} to {batch[-1].post.id!r}"
        raise UserError(f"parquet cannot store a value in posts {ids}: {e}") from None
    for example, row in zip(batch, table.to_pylist(), strict=True):
        restored = _example(path, 0, row)
        if restored != example:
            raise round_trip_error("parquet", [example], [restored])
    return table


def _numbered_rows(
    path: Path, file: "pq.ParquetFile"
) -> Iterator[tuple[int, dict[str, Any] | Rejected]]:
    """Yield every row with its 1-based number; a damaged row group is one `Rejected`."""
    rows_before = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        number = rows_before
        try:
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
            reason = f"rows {number + 1} to {rows_before + size} cannot be read: {e}"
            yield number + 1, reject_row(path, number + 1, reason, "", "write the file again")
        rows_before += size


def _flat_records(path: Path, file: "pq.ParquetFile") -> Iterator[TableRecord | Rejected]:
    """Yield the rows of a table with one row an aspect."""
    for number, row in _numbered_rows(path, file):
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            values = _ANY_ADAPTER.dump_python(row, mode="json")
        except ValueError as e:
            yield reject_row(path, number, str(e), repr(row), "remove columns that are not text")
        else:
            yield to_record(values, number, repr(row).encode())


def _row(example: Example) -> dict[str, Any]:
    row = {**example.post.model_dump(mode="python"), "opinions": []}
    row["parse"] = row["parse"] and _to_json_text(row["parse"])
    row["meta"] = _to_json_text(row["meta"])
    for opinion in example.opinions:
        opinion_row = opinion.model_dump(mode="python")
        row["opinions"].append(
            {**opinion_row, "provenance": _to_json_text(opinion_row["provenance"])}
        )
    return row


def _to_json_text(value: Any) -> str:
    return to_json(value, inf_nan_mode="constants").decode()


def _example(path: Path, number: int, row: dict[str, Any]) -> Example | Rejected:
    try:
        opinions = row.pop("opinions") or []
        for opinion_row in opinions:
            probs = opinion_row["probs"] or {}
            opinion_row["probs"] = {k: v for k, v in probs.items() if v is not None} or None
            opinion_row["provenance"] = from_json(opinion_row["provenance"] or "{}")
        row["parse"] = row["parse"] and from_json(row["parse"])
        row["meta"] = from_json(row["meta"] or "{}")
        return Example.model_validate({"post": row, "opinions": opinions})
    except ValidationError as e:
        return reject_row(
            path,
            number,
            format_validation_error(e),
            repr(row),
            "the docstring of gen_msa.data.formats.parquet describes the columns",
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        reason = f"a column has another type than in the schema: {type(e).__name__}: {e}"
        return reject_row(path, number, reason, repr(row), "rename the column")


def _simple_example(path: Path, number: int, row: dict[str, Any]) -> Example | Rejected:
    """Parse a simple row. Empty cells are dropped, so that they do not fill `meta`."""
    try:
        values = _ANY_ADAPTER.dump_python(
            {k: v for k, v in row.items() if v is not None}, mode="json"
        )
        return SimpleRow.model_validate(values).to_example(f"{path.stem}-{number}")
    except ValidationError as e:
        return reject_row(
            path, number, format_validation_error(e), repr(row), "give the row a text"
        )
    except ValueError as e:
        return reject_row(path, number, str(e), repr(row), "remove columns that are not text")
