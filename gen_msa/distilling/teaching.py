"""Teachers: files of opinions whose probabilities are learned, and a student that teaches another.

A file is checked row by row: what contradicts itself, has no probabilities or is not of these posts
is counted with its reason and not used. Knows nothing of losses or steps.

    voices = Voices(("teacher.jsonl", "other.jsonl#b"))
    voices.soft(post, aspect)              # (0.1, 0.2, 0.7), or () when none of them speaks
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gen_msa import manifest
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.students import CLASSES, Batch, Output, Row
from gen_msa.types import Aspect, Example, Opinion, Post, Rejected

_Key = tuple[str, str, Aspect]


class Voices:
    """What an ensemble of recorded readers says. A contradiction silences its reader there."""

    def __init__(self, files: Sequence[str]) -> None:
        """Read every file. Raises `UserError` when one cannot be read or has nobody to hear."""
        self.left_out: Counter[str] = Counter()
        self._said = [self._heard(f) for f in files]

    def soft(self, post: Post, aspect: Aspect) -> tuple[float, ...]:
        """The mean of the probabilities of `CLASSES`, over those who speak; () when none does."""
        key = (post.id, post.text, aspect)
        heard = [p for said in self._said if (p := said.get(key))]
        if not heard:
            return ()
        return tuple(sum(column) / len(heard) for column in zip(*heard, strict=True))

    def _heard(self, named: str) -> dict[_Key, tuple[float, ...] | None]:
        file, _, name = named.partition("#")
        if not Path(file).is_file():
            raise UserError(f"no file of a teacher's opinions at {file}")
        found: dict[_Key, tuple[float, ...] | None] = {}
        speakers: set[str] = set()
        for row in open_source(file).rows():
            if isinstance(row, Rejected):
                self.left_out[f"line of {Path(file).name} could not be read"] += 1
                continue
            for opinion in _opinions(row, name):
                speakers.add(opinion.by)
                self._note(found, row.post, opinion, Path(file).name)
        if len(speakers) != 1:
            known = ", ".join(sorted(speakers)) or "nobody"
            raise UserError(f"{file} holds opinions by {known}", mend=f"write {file}#NAME")
        return found

    def _note(
        self,
        found: dict[_Key, tuple[float, ...] | None],
        post: Post,
        opinion: Opinion,
        file: str,
    ) -> None:
        shares = _shares(opinion)
        if shares is None:
            self.left_out[f"opinion in {file} without probabilities"] += 1
            return
        key = (post.id, post.text, opinion.aspect)
        if key not in found:
            found[key] = shares
        elif found[key] == shares:
            self.left_out[f"opinion in {file} said twice; counted once"] += 1
        else:
            found[key] = None
            self.left_out[f"opinion in {file} that contradicts another"] += 1


def _opinions(row: Example, name: str) -> list[Opinion]:
    return [o for o in row.opinions if (o.by == name if name else o.by != "gold")]


def _shares(opinion: Opinion) -> tuple[float, ...] | None:
    if opinion.probs is None:
        return None
    shares = tuple(opinion.probs.get(c, 0.0) for c in CLASSES)
    total = sum(shares)
    return tuple(s / total for s in shares) if math.isfinite(total) and total > 0 else None


class Teacher:
    """A kept student in eval mode; its weights are hashed, so that no change is unseen."""

    def __init__(
        self, folder: Path, part: Callable[[Batch], Batch] | None = None, device: Any = "cpu"
    ) -> None:
        """Open the folder. Raises `UserError` when it is not whole.

        `part` takes of a batch the rows that are to be read here, and puts them on `device`.
        """
        from gen_msa.students.common.keeping import open_student

        self.opened = open_student(folder)
        self._folder = folder
        module: Any = self.opened.student
        self._module = module.to(device)
        self._part = part
        for p in module.parameters():
            p.requires_grad_(False)
        self._before = self._digest()

    def __call__(self, rows: Sequence[Row]) -> tuple[Batch, Output]:
        """What it makes of the rows, without a gradient; the same every time."""
        import torch

        batch = self.opened.collate(rows)
        batch = self._part(batch) if self._part else batch
        self._module.eval()
        with torch.no_grad():
            return batch, self.opened.student(batch)

    def check(self) -> None:
        """Raise `UserError` when the teacher is not what it was, in memory or on disk."""
        manifest.check(self._folder)
        if self._digest() != self._before:
            raise UserError("the teacher's weights were changed while it taught")

    def _digest(self) -> str:
        import hashlib

        total = hashlib.sha256()
        for name, p in sorted(self._module.state_dict().items()):
            total.update(name.encode() + p.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()
