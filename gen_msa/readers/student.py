"""A compact model that `gen-msa distill` trained: `student:DIR`, read on the CPU.

DIR is the student's own folder, or what `gen-msa export DIR --onnx` made of it, which is read by
onnxruntime. The folder is checked, byte by byte, before it is opened.

Says polarity and probabilities; and, found by taking words away, which words carry the answer, with
a reason made of them (`explanation_source: template`). That costs some fifteen readings for one:
`reasons=false` leaves it out. A student of reasons (`text: reason`) takes the post's text for
somebody's explanation. Knows nothing of how it was trained.

    gen-msa explain posts.jsonl --reader student:students/text/student
"""

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa.errors import UserError
from gen_msa.readers._reasoning import TEMPLATE, Nearby, evidence, nearby, reason
from gen_msa.readers._showing import Shown as Seen
from gen_msa.readers._showing import cues, show
from gen_msa.readers._student import Mind, open_mind
from gen_msa.readers.base import Reader, ReaderSettings, Reading, Shown, readers
from gen_msa.students import CLASSES, Row
from gen_msa.students.common.occluding import Carried, carriers
from gen_msa.types import Opinion, Polarity, Post, Status


class StudentReader:
    """Asks a student about each aspect of each post, many rows at once."""

    def __init__(self, mind: Mind, settings: ReaderSettings, media_root: Path) -> None:
        """Raises `UserError` for cues that the student was not trained with."""
        self._mind = mind
        self._settings = settings
        self._root = media_root
        self._cues = cues(mind.kept, settings)

    def read(self, posts: Sequence[Post]) -> list[Reading]:
        """The opinions about each post, in the order of its aspects."""
        shown = show(posts, self._mind.kept, self._settings, self._root)
        said = self._mind.ask(shown.rows)
        opinions = [self._opinion(*one) for one in zip(shown.rows, said, shown.how, strict=True)]
        if self._settings.reasons:
            opinions = self._explained(shown, said, opinions)
        left = iter(opinions)
        return [
            shown.refused.get(i) or Reading(tuple(next(left) for _ in p.aspects))
            for i, p in enumerate(shown.posts)
        ]

    def preview(self, posts: Sequence[Post]) -> list[Shown]:
        """Nothing: a student is asked nothing in words."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """Hash of every byte of the student's folder, its name, and what it is asked for."""
        s = self._settings
        own = {"revision": self._mind.revision, "name": s.reader, "aspects": s.aspects}
        shown: dict[str, JsonValue] = {k: dict(v) for k, v in self._cues.items()}
        pictures = {"pictures": s.pictures, "bad_picture": s.bad_picture}
        return {**own, **pictures, "reasons": s.reasons, "near": s.cues != {}, "cues": shown}

    def _opinion(self, row: Row, shares: Sequence[float], how: dict[str, str]) -> Opinion:
        kept, by = self._mind.kept, self._settings.reader
        how = {"student": f"{kept.student}@{self._mind.revision[:12]}", **how}
        if self._mind.engine != "torch":
            how["engine"] = self._mind.engine
        if kept.text == "reason":
            how["reads"] = "the text as a reason"
        if self._mind.cut(row):
            how["text"] = f"cut at {kept.max_length} tokens"
        if not all(map(math.isfinite, shares)):
            how["error"] = "its logits are not finite"
            return Opinion(by=by, aspect=row.aspect, status=Status.ERROR, how=how)
        probs: dict[Polarity, float] = dict(zip(CLASSES, shares, strict=True))
        says = max(CLASSES, key=lambda c: probs[c])
        return Opinion(by=by, aspect=row.aspect, polarity=says, probs=probs, how=how)

    def _explained(
        self, shown: Seen, said: Sequence[Sequence[float]], opinions: Sequence[Opinion]
    ) -> list[Opinion]:
        """The opinions with their evidence and reasons; those without a polarity as they are."""
        found = carriers(shown.rows, said, self._mind.ask)
        near = [Nearby()] * len(shown.rows)
        if self._settings.cues != {}:
            near = [one for some in nearby(shown.posts) for one in some]
        return [_with_reason(*one) for one in zip(opinions, shown.rows, found, near, strict=True)]


def _with_reason(opinion: Opinion, row: Row, carried: Carried, near: Nearby) -> Opinion:
    if opinion.polarity is None:
        return opinion
    quoted = evidence(row.text, row.context, carried)
    others = [f"the {name}" for name in carried.others]
    told = reason(opinion.aspect, opinion.polarity, quoted, near, others)
    how = {**opinion.how, "explanation_source": TEMPLATE}
    if near.source:
        how["cue_source"] = near.source
    return opinion.model_copy(update={"explanation": told, "evidence": quoted, "how": how})


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
    mind = open_mind(folder, together=settings.backend.batch_size)
    if mind.engine == "onnx int8" and settings.backend.dtype != "auto":
        raise UserError(f"{folder} reads in int8, not in {settings.backend.dtype}")
    return StudentReader(mind, settings, media_root)
