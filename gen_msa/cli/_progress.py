"""Progress with rate and time left; silent when nobody is looking at the terminal."""

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

from gen_msa.annotating import JobCounts
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
    """A progress bar on `console`; the function given is called with the job's counts.

    `shares`: among how many jobs the source is divided.
    """
    if not console.is_terminal:
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
        task = progress.add_task("reading", total=total and total // n_shards)

        def advance(counts: JobCounts) -> None:
            unparsed = f", {counts.unparsed} unread" if counts.unparsed else ""
            progress.update(task, completed=counts.rows, description=f"reading{unparsed}")

        yield advance


def _count_rows(source: ExampleSource, limit: int | None) -> int | None:
    max_rows = min(limit or _MAX_COUNTED_ROWS, _MAX_COUNTED_ROWS)
    count = sum(1 for _ in islice(source.rows(), max_rows))
    return count if count < _MAX_COUNTED_ROWS else None
