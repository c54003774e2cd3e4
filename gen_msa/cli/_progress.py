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

from gen_msa.annotating import Counts
from gen_msa.data import Source

_COUNTED = 200_000
"""Rows counted ahead for the time left; a longer source shows its rate only."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} posts/s" if task.speed else "")


@contextmanager
def bar(
    source: Source, limit: int | None, console: Console, shares: int = 1
) -> Iterator[Callable[[Counts], None]]:
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
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        total = _total(source, limit)
        task = progress.add_task("reading", total=total and total // shares)

        def advance(counts: Counts) -> None:
            unread = f", {counts.unread} unread" if counts.unread else ""
            progress.update(task, completed=counts.rows, description=f"reading{unread}")

        yield advance


def _total(source: Source, limit: int | None) -> int | None:
    most = min(limit or _COUNTED, _COUNTED)
    count = sum(1 for _ in islice(source.rows(), most))
    return count if count < _COUNTED else None
