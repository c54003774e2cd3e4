"""Parquet: the house's examples with nested columns, or rows of a user's own.

Lossless for every example. `media`, `aspects` and `opinions` are lists of structs that a data
frame can unnest; `parse`, `meta` and `how` are JSON text, because their keys differ from row to
row. A file without the house's columns is read as rows of a user's own (see `_own`). Reads and
writes a batch of rows at a time. Knows nothing of corpora.

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

from gen_msa.data.formats._common import ExampleStream, reject_row, round_trip_error
from gen_msa.data.formats._simple import SimpleRow
from gen_msa.data.formats.base import formats
from gen_msa.errors import UserError
from gen_msa.jsonl import atomic_write, format_validation_error
from gen_msa.types import Example, Polarity, Rejected

_BATCH_ROWS = 500
"""Rows held at once; also the size of a row group."""

_ASPECT = pa.struct([("term", pa.string()), ("start", pa.int64())])
_MEDIA = pa.struct([("kind", pa.string()), ("path", pa.string()), ("key", pa.string())])
_EVIDENCE = pa.struct([("quote", pa.string()), ("start", pa.int64()), ("source", pa.string())])
_OPINION = pa.struct(
    [
        ("by", pa.string()),
        ("aspect", _ASPECT),
        ("polarity", pa.string()),
        ("score", pa.float64()),
        ("probs", pa.struct([(p.value, pa.float64()) for p in Polarity])),
        ("explanation", pa.string()),
        ("evidence", pa.list_(_EVIDENCE)),
        ("raw", pa.string()),
        ("status", pa.string()),
        ("how", pa.string()),
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
    about = "Parquet with one row a post: lossless; or a table of your own with a `text` column."

    def read(self, path: Path) -> ExampleStream:
        """Every row, in order. Raises `UserError` when the file is not Parquet or has no `text`."""
        try:
            file = pq.ParquetFile(path, memory_map=False)
            names = file.schema_arrow.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
            raise UserError(f"{path} cannot be read as Parquet: {e}") from None
        with file:
            if "text" not in names:
                raise UserError(f"{path} has no column 'text'", hint=f"it has {', '.join(names)}")
            is_simple = set(names) != set(SCHEMA.names)
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
        """One row an example, `_BATCH` rows a row group."""
        remaining = iter(examples)
        with atomic_write(path) as f, pq.ParquetWriter(f, SCHEMA, compression="zstd") as writer:
            while batch := list(islice(remaining, _BATCH_ROWS)):
                writer.write_table(_table(path, batch))


def _table(path: Path, batch: list[Example]) -> pa.Table:
    """A batch as a table, once it has been read back through Arrow's types and found equal."""
    try:
        table = pa.Table.from_pylist([_row(e) for e in batch], SCHEMA)
    except (pa.ArrowException, OverflowError) as e:
        ids = f"{batch[0].post.id!r} to {batch[-1].post.id!r}"
        raise UserError(f"parquet has no room for a value in posts {ids}: {e}") from None
    for example, row in zip(batch, table.to_pylist(), strict=True):
        restored = _example(path, 0, row)
        if restored != example:
            raise round_trip_error("parquet", [example], [restored])
    return table


def _numbered_rows(
    path: Path, file: "pq.ParquetFile"
) -> Iterator[tuple[int, dict[str, Any] | Rejected]]:
    """Every row with its 1-based number; a row group that is damaged is one `Rejected`."""
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
            yield number + 1, reject_row(path, number + 1, reason, "", "write the file anew")
        rows_before += size


def _row(example: Example) -> dict[str, Any]:
    row = {**example.post.model_dump(mode="python"), "opinions": []}
    row["parse"] = row["parse"] and _to_json_text(row["parse"])
    row["meta"] = _to_json_text(row["meta"])
    for opinion in example.opinions:
        opinion_row = opinion.model_dump(mode="python")
        row["opinions"].append({**opinion_row, "how": _to_json_text(opinion_row["how"])})
    return row


def _to_json_text(value: Any) -> str:
    return to_json(value, inf_nan_mode="constants").decode()


def _example(path: Path, number: int, row: dict[str, Any]) -> Example | Rejected:
    try:
        opinions = row.pop("opinions") or []
        for opinion_row in opinions:
            probs = opinion_row["probs"] or {}
            opinion_row["probs"] = {k: v for k, v in probs.items() if v is not None} or None
            opinion_row["how"] = from_json(opinion_row["how"] or "{}")
        row["parse"] = row["parse"] and from_json(row["parse"])
        row["meta"] = from_json(row["meta"] or "{}")
        return Example.model_validate({"post": row, "opinions": opinions})
    except ValidationError as e:
        return reject_row(
            path, number, format_validation_error(e), repr(row), "see the columns in the docstring"
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        reason = f"a column of another shape than ours: {type(e).__name__}: {e}"
        return reject_row(path, number, reason, repr(row), "rename your own columns")


def _simple_example(path: Path, number: int, row: dict[str, Any]) -> Example | Rejected:
    """A row of the user's own. Empty cells say nothing, so that they do not crowd `meta`."""
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
        return reject_row(path, number, str(e), repr(row), "leave out columns that are not text")
