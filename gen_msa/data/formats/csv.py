"""CSV and TSV of a user's own: one row an opinion (or an aspect), adjacent rows of one id a post.

Knows nothing of corpora. Columns, of which only `text` is required:

    id        empty: FILE_STEM-LINE, and neighbours with equal text and pictures are joined
    text
    images    one path a line of the cell (also read: `image`)
    aspect    empty: the post as a whole
    start     offset of the aspect; empty: it has no place. Without this column, places are searched
    given     `no`: the post did not list this aspect, a reader found it; `yes`: it lists it
    by        who says the following; empty: `gold`
    polarity, score, p_negative, p_neutral, p_positive, explanation, raw, status, evidence, how
    meta      a JSON object; every column not named here is added to it as text

What is written is exactly these columns. No room for: a parse, media other than pictures, an
empty string where None means nothing was said.
"""

import io
from collections.abc import Iterable
from pathlib import Path

from gen_msa.data.formats._cells import COLUMNS, rows_from_example
from gen_msa.data.formats._joined import PostJoiner
from gen_msa.data.formats._rows import ExampleStream, check_round_trip, unsupported_field_error
from gen_msa.data.formats._table import record_bytes, iter_table_records
from gen_msa.data.formats.base import formats
from gen_msa.jsonl import MAX_LINE_BYTES, atomic_write
from gen_msa.types import Example


@formats.register
class Csv:
    """Reads and writes CSV, and TSV by the suffix `.tsv`."""

    suffixes: tuple[str, ...] = (".csv", ".tsv")
    about = "CSV or TSV with a header: `text`, and perhaps id, images, aspect, start, polarity."

    def read(self, path: Path) -> ExampleStream:
        """Every post, in order; a row that cannot be read is `Rejected` on its own."""
        with path.open("rb") as f:
            yield from PostJoiner(path, iter_table_records(f, path, required=("text",)))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """The examples under a fixed header. Raises `UserError` naming a field without room."""
        header = record_bytes(COLUMNS, path)

        def dump(example: Example, number: int) -> list[bytes]:
            rows = [record_bytes(cells, path) for cells in rows_from_example(example)]
            if max(map(len, rows)) > MAX_LINE_BYTES:
                raise unsupported_field_error("csv", example, "the length", f"a row is over {MAX_LINE_BYTES} bytes")
            return rows

        def parse(rows: list[bytes], number: int) -> ExampleStream:
            file = io.BytesIO(header + b"".join(rows))
            return iter(PostJoiner(path, iter_table_records(file, path, required=("text",))))

        with atomic_write(path) as f:
            f.write(header)
            for rows in check_round_trip("csv", examples, dump, parse, joins_adjacent=True):
                f.writelines(rows)
