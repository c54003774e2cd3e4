"""A compact model that `gen-msa distill` trained: `student:DIR`, read on the CPU.

Says polarity and probabilities, and no reason: its `explanation` is None. A student of reasons
(`text: reason`) takes the post's text for somebody's explanation. The folder is checked, byte by
byte, before it is opened. Knows nothing of how it was trained.

    gen-msa explain posts.jsonl --reader student:students/text/student
"""

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa.errors import MissingExtra, UserError
from gen_msa.readers import Reader, ReaderSettings, Reading, Shown, readers
from gen_msa.readers._asked import asked
from gen_msa.students import CLASSES, Row

try:
    from gen_msa.students.common.keeping import Opened, open_student
    from gen_msa.students.common.reading import probabilities
except ModuleNotFoundError as e:
    if e.name not in ("torch", "tokenizers"):
        raise
    raise MissingExtra(e.name, "train") from None

from gen_msa.types import Opinion, Polarity, Post, Status


class StudentReader:
    """Asks a student about each aspect of each post, many rows at once."""

    def __init__(self, opened: Opened, settings: ReaderSettings) -> None:
        self._opened = opened
        self._settings = settings

    def read(self, posts: Sequence[Post]) -> list[Reading]:
        """The opinions about each post, in the order of its aspects."""
        questions = asked(posts, self._settings)
        rows = [
            Row(f"{post.id}/{n}", post.text, aspect)
            for post, about in zip(posts, questions, strict=True)
            for n, aspect in enumerate(about.aspects)
        ]
        together = self._settings.backend.batch_size
        said = probabilities(self._opened.student, self._opened.collate, rows, together=together)
        pairs = iter(zip(rows, said, strict=True))
        return [
            Reading(tuple(self._opinion(*next(pairs), about.source) for _ in about.aspects))
            for about in questions
        ]

    def preview(self, posts: Sequence[Post]) -> list[Shown]:
        """Nothing: a student is asked nothing in words."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """Hash of every byte of the student's folder, its name, and where aspects come from."""
        own = {"revision": self._opened.revision, "name": self._settings.reader}
        return {**own, "aspects": self._settings.aspects}

    def _opinion(self, row: Row, shares: Sequence[float], source: str) -> Opinion:
        kept, by = self._opened.kept, self._settings.reader
        how = {"student": f"{kept.student}@{self._opened.revision[:12]}", "aspect_source": source}
        if kept.text == "reason":
            how["reads"] = "the text as a reason"
        if self._opened.collate.cut(row):
            how["text"] = f"cut at {kept.max_length} tokens"
        if not all(map(math.isfinite, shares)):
            how["error"] = "its logits are not finite"
            return Opinion(by=by, aspect=row.aspect, status=Status.ERROR, how=how)
        probs: dict[Polarity, float] = dict(zip(CLASSES, shares, strict=True))
        says = max(CLASSES, key=lambda c: probs[c])
        return Opinion(by=by, aspect=row.aspect, polarity=says, probs=probs, how=how)


@readers.register
def make(target: str, settings: ReaderSettings, media_root: Path) -> Reader:
    """The student in the folder `target`."""
    folder = Path(target)
    if not target or not folder.is_dir():
        raise UserError(f"no folder {target!r} with a student in it", mend="write student:DIR")
    if settings.backend.device not in ("auto", "cpu"):
        raise UserError(f"students read on the CPU, not on {settings.backend.device}")
    if settings.backend.dtype not in ("auto", "float32"):
        raise UserError(f"students read in float32, not in {settings.backend.dtype}")
    return StudentReader(open_student(folder), settings)
