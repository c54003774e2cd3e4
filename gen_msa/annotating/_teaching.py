"""Who is asked: a plain reader, or one whose answers go through gates (`_gated`).

Knows nothing of files or ledgers.

    make_teacher(JobSettings(reader="echo"), root).read(examples)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from gen_msa import media, readers
from gen_msa.annotating._gated import Gated
from gen_msa.annotating._settings import AnnotateSettings, JobSettings
from gen_msa.readers import Finish, Reader, Reading, Shown
from gen_msa.types import Example


class Teacher(Protocol):
    """Adds opinions to the posts of examples; of these it sees no opinion but gold it may see."""

    @property
    def overlaps(self) -> bool:
        """Whether it may read in several threads at once, and gains by it."""
        ...

    def prepare(self, examples: Sequence[Example]) -> Finish:
        """What can be done before a model is asked; may be called in another thread."""
        ...

    def read(self, examples: Sequence[Example]) -> list[Reading]:
        """One `Reading` for each example, in order."""
        ...

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """The questions that would be asked first, unasked; none by what is asked nothing."""
        ...

    def fingerprint(self) -> dict[str, JsonValue]:
        """Changes whenever its readings could; the ledger's key."""
        ...


class Plain:
    """A reader as it is."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.overlaps = readers.overlaps(reader)

    def prepare(self, examples: Sequence[Example]) -> Finish:
        """All but asking the model, of a reader that knows the difference."""
        return readers.prepare(self._reader, [e.post for e in examples])

    def read(self, examples: Sequence[Example]) -> list[Reading]:
        """What the reader says."""
        return self.prepare(examples)()

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """The reader's questions."""
        return self._reader.preview([e.post for e in examples])

    def fingerprint(self) -> dict[str, JsonValue]:
        """The reader's own."""
        return self._reader.fingerprint()


def make_teacher(settings: JobSettings, media_root: Path) -> Teacher:
    """Who answers a job; loads its models."""
    # The chunks that are being read and the two that are made ready, a picture a post.
    media.make_room(4 * settings.chunk, settings.picture)
    if isinstance(settings, AnnotateSettings):
        return Gated(settings, media_root)
    return Plain(readers.make(settings.of_reader(), media_root))


def shown_to(settings: JobSettings, example: Example) -> Example:
    """What of an example its teacher is given: the post, and gold only where it may guide."""
    guided = isinstance(settings, AnnotateSettings) and settings.tells_label
    return Example(post=example.post, opinions=example.said_by("gold") if guided else ())
