"""Who is asked: a plain reader, or one whose answers go through gates (`_gated`).

Knows nothing of files or ledgers.

    make_teacher(JobSettings(reader="echo"), root).read(examples)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from gen_msa import media, readers
from gen_msa.annotating._gated import FilteredTeacher
from gen_msa.annotating._settings import AnnotateSettings, JobSettings
from gen_msa.readers import Continuation, Predictor, Prediction, Shown
from gen_msa.types import Example


class Teacher(Protocol):
    """Adds opinions to the posts of examples; of these it sees no opinion but gold it may see."""

    @property
    def is_concurrent(self) -> bool:
        """Whether it may read in several threads at once, and gains by it."""
        ...

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """What can be done before a model is asked; may be called in another thread."""
        ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One `Reading` for each example, in order."""
        ...

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """The questions that would be asked first, unasked; none by what is asked nothing."""
        ...

    def fingerprint(self) -> dict[str, JsonValue]:
        """Changes whenever its readings could; the ledger's key."""
        ...


class PredictorTeacher:
    """A reader as it is."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.is_concurrent = readers.is_concurrent(predictor)

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """All but asking the model, of a reader that knows the difference."""
        return readers.prepare(self._predictor, [e.post for e in examples])

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """What the reader says."""
        return self.prepare(examples)()

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """The reader's questions."""
        return self._predictor.preview([e.post for e in examples])

    def fingerprint(self) -> dict[str, JsonValue]:
        """The reader's own."""
        return self._predictor.fingerprint()


def make_teacher(settings: JobSettings, media_root: Path) -> Teacher:
    """Who answers a job; loads its models."""
    # The chunks that are being read and the two that are made ready, a picture a post.
    media.resize_cache(4 * settings.chunk, settings.image)
    if isinstance(settings, AnnotateSettings):
        return FilteredTeacher(settings, media_root)
    return PredictorTeacher(readers.make(settings.predictor_settings(), media_root))


def visible_to_teacher(settings: JobSettings, example: Example) -> Example:
    """What of an example its teacher is given: the post, and gold only where it may guide."""
    sees_gold = isinstance(settings, AnnotateSettings) and settings.reveals_label
    return Example(post=example.post, opinions=example.opinions_by("gold") if sees_gold else ())
