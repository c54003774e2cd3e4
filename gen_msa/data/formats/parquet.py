"""Parquet: examples with nested columns, or simple rows of a user's own.

Every example can be stored. `media`, `aspects` and `opinions` are lists of structs that a data
frame can unnest; `parse`, `meta` and `provenance` are JSON text, because their keys differ from row
to row. A file without these columns is read as simple rows (see `_simple`), as one row an aspect,
or as chats, whichever its columns are; `_arrow_columns` describes the columns that `datasets`
writes. Reads and writes one batch of rows at a time.

    import pandas; pandas.read_parquet("posts.parquet")[["id", "text", "opinions"]]
"""

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from gen_msa.data.formats._arrow_columns import ColumnDecoder, check_text_size
from gen_msa.data.formats._chat import is_chat, parse_chat_records
from gen_msa.data.formats._common import reject_row, round_trip_error
from gen_msa.data.formats._flat import ASPECT_KEYS, read_span_list, to_record, warn_of_labels
from gen_msa.data.formats._simple import SimpleRow, warn_of_other_labels
from gen_msa.data.formats.base import ExampleStream, ReadOptions, formats
from gen_msa.data.formats.csv import PostJoiner
from gen_msa.data.formats.jsonl import rename_keys
from gen_msa.errors import UserError, did_you_mean
from gen_msa.jsonl import atomic_write, format_validation_error
from gen_msa.types import Example, Polarity, Rejected

_BRIEF = reprlib.Repr()
_BRIEF.maxstring, _BRIEF.maxdict = 200, 20
"""Shows a row in messages, whatever its size."""
_FREE_BYTES, _FREE_VALUES = 64 << 20, 1_000_000
"""A row group of this size may grow as it likes."""
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
        return self.read_with(path, ReadOptions())

    def read_with(self, path: Path, options: ReadOptions) -> ExampleStream:
        """Read every row, in order, from columns of other names.

        Args:
            path: The file.
            options: Names of columns, and the folder below which images are stored.

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.

        Raises:
            UserError: The file is not Parquet, or lacks a column.
        """
        try:
            file = _open(path)
            names = file.schema_arrow.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
            raise UserError(f"{path} cannot be read as Parquet: {e}") from None
        with file:
            if set(names) == set(SCHEMA.names) and not options.columns:
                for number, row in _numbered_rows(path, file, names):
                    yield row if isinstance(row, Rejected) else _example(path, number, row)
                return
            yield from _foreign_rows(path, file, options)

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


def _open(path: Path) -> "pq.ParquetFile":
    """Open a file; texts and bytes stay in dictionaries until a row is taken.

    A dictionary of one text of 9 MB and 500 rows is a file of 1 kB, and 4.7 GB as plain rows.
    """
    with pq.ParquetFile(path, memory_map=False) as file:
        leaves = [file.schema.column(i) for i in range(len(file.schema))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    return pq.ParquetFile(path, memory_map=False, read_dictionary=texts)


def _numbered_rows(
    path: Path, file: "pq.ParquetFile", columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any] | Rejected]]:
    """Yield every row with its 1-based number; a damaged row group is one `Rejected`."""
    rows_before = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        number = rows_before
        try:
            _check_group_size(file.metadata.row_group(group))
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                for at in range(batch.num_rows):
                    (row,) = batch.slice(at, 1).to_pylist()
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError, ValueError) as e:
            reason = f"rows {number + 1} to {rows_before + size} cannot be read: {e}"
            yield number + 1, reject_row(path, number + 1, reason, "", "write the file again")
        rows_before += size


def _check_group_size(group: "pq.RowGroupMetaData") -> None:
    """Refuse a row group that grows beyond measure when it is read.

    Raises:
        ValueError: A column grows more than a thousandfold, or has far more values than rows.
    """
    for i in range(group.num_columns):
        column = group.column(i)
        size, stored = column.total_uncompressed_size, max(1, column.total_compressed_size)
        if size > _FREE_BYTES and size > 1_000 * stored:
            raise ValueError(
                f"column {column.path_in_schema!r} grows from {stored} to {size} bytes"
            )
        if column.num_values > max(_FREE_VALUES, 10_000 * group.num_rows):
            raise ValueError(f"column {column.path_in_schema!r} has {column.num_values} values")


def _foreign_rows(
    path: Path, file: "pq.ParquetFile", options: ReadOptions
) -> Iterator[Example | Rejected]:
    """Yield the rows of a user's own table: simple rows, one row an aspect, or chats."""
    decoder = ColumnDecoder(path, file.schema_arrow, options)
    names = {decoder.renamed.get(n, n) for n in decoder.names}
    for column in options.columns.values():
        if column.partition(".")[0] not in names and column not in names:
            raise UserError(
                f"{path} has no column {column!r}", hint=did_you_mean(column, decoder.names)
            )
    is_chat_table = is_chat({name: [] for name in names}) and not options.columns
    if not is_chat_table and "text" not in {*names, *options.columns}:
        raise UserError(
            f"{path} has no column 'text'",
            hint=f"it has {', '.join(decoder.names)}; name it: --map text=COLUMN",
        )
    rows = _decoded_rows(path, file, decoder, options)
    if is_chat_table:
        yield from parse_chat_records(
            path, (r if isinstance(r, Rejected) else (r[0], to_json(r[1])) for r in rows)
        )
    elif "aspects" not in {*names, *options.columns} and (names | set(options.columns)) & set(
        ASPECT_KEYS
    ):
        other_labels: Counter[str] = Counter()
        records = (
            r if isinstance(r, Rejected) else to_record(r[1], r[0], _BRIEF.repr(r[1]).encode())
            for r in rows
        )
        yield from PostJoiner(path, records, other_labels)
        warn_of_other_labels(path, other_labels)
    else:
        yield from _simple_examples(path, rows)


def _decoded_rows(
    path: Path, file: "pq.ParquetFile", decoder: ColumnDecoder, options: ReadOptions
) -> Iterator[tuple[int, dict[str, Any]] | Rejected]:
    for number, row in _numbered_rows(path, file, decoder.names):
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            values = _ANY_ADAPTER.dump_python(decoder.decode(row), mode="json")
            yield number, rename_keys(values, options.columns) if options.columns else values
        except ValueError as e:
            hint = "remove columns that are neither text nor images"
            yield reject_row(path, number, str(e), _BRIEF.repr(row), hint)


def _simple_examples(
    path: Path, rows: Iterable[tuple[int, dict[str, Any]] | Rejected]
) -> Iterator[Example | Rejected]:
    """Parse simple rows, and those with lists of spans."""
    other_labels: Counter[str] = Counter()
    for item in rows:
        if isinstance(item, Rejected):
            yield item
            continue
        number, values = item
        try:
            row = SimpleRow.model_validate(read_span_list(values) or values)
            extra = (k for k, v in row.__pydantic_extra__.items() if v)
            warn_of_labels(path, extra, kind="column")
            example = row.to_example(f"{path.stem}-{number}")
            other_labels.update(row.other_labels())
            yield example
        except ValueError as e:
            reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
            yield reject_row(path, number, reason, _BRIEF.repr(values), "correct the named column")
    warn_of_other_labels(path, other_labels)


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
        check_text_size(row)
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
            _BRIEF.repr(row),
            "the docstring of gen_msa.data.formats.parquet describes the columns",
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        reason = f"a column has another type than in the schema: {type(e).__name__}: {e}"
        return reject_row(path, number, reason, _BRIEF.repr(row), "rename the column")
