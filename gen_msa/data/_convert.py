"""The same examples in another format; rows that cannot be read are set aside beside the target.

Knows nothing of any format. Paths of pictures are kept as they are, relative to the source's
media root: a target in another folder needs `--media-root` when it is read.

    convert(open_source("twitter2015:dev"), Path("dev.jsonl"))    # Counts(written=727, rejected=0)
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gen_msa.data.base import ExampleSource
from gen_msa.data.formats import format_of
from gen_msa.jsonl import atomic_write
from gen_msa.types import Example


@dataclass
class ConversionCounts:
    """Posts written and rows set aside."""

    written: int = 0
    rejected: int = 0
    rejected_file: Path | None = None
    """JSON lines of `Rejected`; None when nothing was set aside."""


def convert(source: ExampleSource, target: Path, format: str | None = None) -> ConversionCounts:
    """Write the examples of `source` as `target`, in `format` or the one its suffix tells.

    Rejected rows go to `TARGET.rejected.jsonl`; when there are none, one left by an earlier run is
    removed. Raises `UserError` naming the field when an example does not fit; then neither file is
    written.
    """
    file_format = format_of(target, format)
    rejected_path = target.with_name(f"{target.name}.rejected.jsonl")
    counts = ConversionCounts()
    with ExitStack() as files:
        file_format.write(target, _accepted_rows(source, rejected_path, counts, files))
    if not counts.rejected:
        rejected_path.unlink(missing_ok=True)
    return counts


def _accepted_rows(source: ExampleSource, rejected_path: Path, counts: ConversionCounts, files: ExitStack) -> Iterator[Example]:
    rejected_out = None
    for row in source.rows():
        if isinstance(row, Example):
            counts.written += 1
            yield row
            continue
        if rejected_out is None:
            rejected_out = files.enter_context(atomic_write(rejected_path))
            counts.rejected_file = rejected_path
        counts.rejected += 1
        rejected_out.write(row.model_dump_json().encode() + b"\n")
