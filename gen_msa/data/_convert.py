"""The same examples in another format; rows that cannot be read are set aside beside the target.

Knows nothing of any format. Paths of pictures are kept as they are, relative to the source's
media root: a target in another folder needs `--media-root` when it is read.

    convert(open_source("twitter2015:dev"), Path("dev.jsonl"))    # Counts(written=727, rejected=0)
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gen_msa.data.base import Source
from gen_msa.data.formats import format_of
from gen_msa.jsonl import whole
from gen_msa.types import Example


@dataclass
class Counts:
    """Posts written and rows set aside."""

    written: int = 0
    rejected: int = 0
    rejected_file: Path | None = None
    """JSON lines of `Rejected`; None when nothing was set aside."""


def convert(source: Source, target: Path, format: str | None = None) -> Counts:
    """Write the examples of `source` as `target`, in `format` or the one its suffix tells.

    Rejected rows go to `TARGET.rejected.jsonl`; when there are none, one left by an earlier run is
    removed. Raises `UserError` naming the field when an example does not fit; then neither file is
    written.
    """
    kind = format_of(target, format)
    aside = target.with_name(f"{target.name}.rejected.jsonl")
    counts = Counts()
    with ExitStack() as files:
        kind.write(target, _good(source, aside, counts, files))
    if not counts.rejected:
        aside.unlink(missing_ok=True)
    return counts


def _good(source: Source, aside: Path, counts: Counts, files: ExitStack) -> Iterator[Example]:
    bad = None
    for row in source.rows():
        if isinstance(row, Example):
            counts.written += 1
            yield row
            continue
        if bad is None:
            bad = files.enter_context(whole(aside))
            counts.rejected_file = aside
        counts.rejected += 1
        bad.write(row.model_dump_json().encode() + b"\n")
