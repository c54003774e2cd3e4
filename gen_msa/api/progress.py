"""Progress of a job on a terminal or in a notebook: rows, rate and time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from gen_msa.annotation import JobCounts
from gen_msa.data import ExampleSource

_MAX_COUNTED_ROWS = 200_000
"""Rows counted ahead for the time left; a longer source shows its rate only."""


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} posts/s" if task.speed else "")


@contextmanager
def progress_bar(
    source: ExampleSource, limit: int | None, console: Console, n_shards: int = 1
) -> Iterator[Callable[[JobCounts], None]]:
    """Show a progress bar while the block runs, where somebody can see it.

    Args:
        source: The posts; up to 200,000 rows are counted first.
        limit: Rows that the job reads at most.
        console: A terminal or a notebook; on anything else nothing is shown.
        n_shards: Jobs that share the source.

    Yields:
        A function to call with the job's counts so far.
    """
    if not (console.is_terminal or console.is_jupyter):
        yield lambda _: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        total = _count_rows(source, limit)
        task = progress.add_task("predicting", total=total and total // n_shards)

        def advance(counts: JobCounts) -> None:
            unparsed = f", {counts.unparsed:,} unparsed" if counts.unparsed else ""
            progress.update(task, completed=counts.rows, description=f"predicting{unparsed}")

        yield advance


def _count_rows(source: ExampleSource, limit: int | None) -> int | None:
    max_rows = min(limit or _MAX_COUNTED_ROWS, _MAX_COUNTED_ROWS)
    count = sum(1 for _ in islice(source.rows(), max_rows))
    return count if count < _MAX_COUNTED_ROWS else None
