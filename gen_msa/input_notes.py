"""What of an input was guessed or not used, collected while the input is read.

Every `errors.InputWarning` adds itself to the notes of the source that is being read, so that the
last line, the summary and the report of a job name the same numbers.

    notes = InputNotes()
    rows = list(notes.collect(lambda: read(path)))
    notes.unused                       # Counter(column=2, label=5)
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class InputNotes:
    """The notes on one input. A further pass over the same input adds nothing."""

    by_text: dict[str, dict[str, int]] = field(default_factory=dict)
    """Text of a note -> what it says was not used: kind (`column`, `key`, `element`, `label`, …) ->
    number; empty for a guess."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The notes in the order in which they came up."""
        return tuple(self.by_text)

    @property
    def unused(self) -> Counter[str]:
        """How many of each kind were not used."""
        total: Counter[str] = Counter()
        for counts in self.by_text.values():
            total.update(counts)
        return total

    def add(self, text: str, unused: Mapping[str, int]) -> None:
        """Add a note.

        Args:
            text: What was guessed or not used.
            unused: Kind -> how many of it were not used; may be empty.
        """
        self.by_text[text] = dict(unused)

    def update(self, other: "InputNotes") -> None:
        """Add the notes on another input."""
        self.by_text.update(other.by_text)

    def collect(self, read: Callable[[], Iterator[T]]) -> Iterator[T]:
        """Return what `read` returns, and collect the notes that come up meanwhile.

        Args:
            read: Opens the input. Any thread may take the items.
        """
        return self._items(self._collecting(read))

    def _items(self, items: Iterator[T]) -> Iterator[T]:
        try:
            while True:
                yield self._collecting(items.__next__)
        except StopIteration:
            return

    def _collecting(self, step: Callable[[], T]) -> T:
        """Call `step` with these notes among those that are being collected."""
        token = _collectors.set((*_collectors.get(), self))
        try:
            return step()
        finally:
            _collectors.reset(token)


_collectors: ContextVar[tuple[InputNotes, ...]] = ContextVar("collectors", default=())


def add_note(text: str, unused: Mapping[str, int]) -> None:
    """Add a note to every input that is being read in this thread.

    Args:
        text: What was guessed or not used.
        unused: Kind -> how many of it were not used; may be empty.
    """
    for notes in _collectors.get():
        notes.add(text, unused)
