"""Teachers: files of opinions whose probabilities are learned, and a student that teaches another.

A file is checked row by row: what contradicts itself, has no probabilities or is of other posts is
not used, and counted with the reason.

    teachers = RecordedTeachers(("teacher.jsonl", "other.jsonl#b"))
    teachers.mean_probs(post, aspect)        # (0.1, 0.2, 0.7), or () where none has an opinion
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gen_msa import manifest
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.models import CLASSES, AspectExample, Batch, Output
from gen_msa.types import Aspect, Example, Opinion, Post, Rejected

_Key = tuple[str, str, Aspect]


class RecordedTeachers:
    """An ensemble of recorded opinions. Where a file contradicts itself, it is not used."""

    def __init__(self, files: Sequence[str]) -> None:
        """Read every file.

        Args:
            files: `FILE`, or `FILE#NAME` for the opinions of one annotator in it.

        Raises:
            UserError: When a file is missing, or does not have opinions of one annotator.
        """
        self.left_out: Counter[str] = Counter()
        self._tables = [self._read_file(f) for f in files]

    def mean_probs(self, post: Post, aspect: Aspect) -> tuple[float, ...]:
        """Return the mean probabilities of `CLASSES` over the teachers that have an opinion.

        Args:
            post: The post; id and text must be those of the file.
            aspect: The aspect of the opinion.

        Returns:
            One probability a class; () when no teacher has an opinion.
        """
        key = (post.id, post.text, aspect)
        probs = [p for table in self._tables if (p := table.get(key))]
        if not probs:
            return ()
        return tuple(sum(column) / len(probs) for column in zip(*probs, strict=True))

    def _read_file(self, spec: str) -> dict[_Key, tuple[float, ...] | None]:
        file, _, name = spec.partition("#")
        if not Path(file).is_file():
            raise UserError(f"no file of a teacher's opinions at {file}")
        table: dict[_Key, tuple[float, ...] | None] = {}
        annotators: set[str] = set()
        for row in open_examples(file).rows():
            if isinstance(row, Rejected):
                self.left_out[f"line of {Path(file).name} could not be read"] += 1
                continue
            for opinion in _teacher_opinions(row, name):
                annotators.add(opinion.annotator)
                self._add(table, row.post, opinion, Path(file).name)
        if len(annotators) != 1:
            names = ", ".join(sorted(annotators)) or "no teacher"
            raise UserError(f"{file} has opinions by {names}", hint=f"write {file}#NAME")
        return table

    def _add(
        self,
        table: dict[_Key, tuple[float, ...] | None],
        post: Post,
        opinion: Opinion,
        file: str,
    ) -> None:
        probs = _class_probs(opinion)
        if probs is None:
            self.left_out[f"opinion in {file} without probabilities"] += 1
            return
        key = (post.id, post.text, opinion.aspect)
        if key not in table:
            table[key] = probs
        elif table[key] == probs:
            self.left_out[f"duplicate opinion in {file}; counted once"] += 1
        else:
            table[key] = None
            self.left_out[f"opinion in {file} that contradicts another"] += 1


def _teacher_opinions(row: Example, name: str) -> list[Opinion]:
    return [o for o in row.opinions if (o.annotator == name if name else o.annotator != "gold")]


def _class_probs(opinion: Opinion) -> tuple[float, ...] | None:
    if opinion.probs is None:
        return None
    probs = tuple(opinion.probs.get(c, 0.0) for c in CLASSES)
    total = sum(probs)
    return tuple(p / total for p in probs) if math.isfinite(total) and total > 0 else None


class FrozenTeacher:
    """A trained student in eval mode; its weights are hashed, so that a change is detected."""

    def __init__(
        self, folder: Path, select_rows: Callable[[Batch], Batch] | None = None, device: Any = "cpu"
    ) -> None:
        """Load a student.

        Args:
            folder: Its folder.
            select_rows: Takes this process' rows of a batch, and moves them to `device`; None for
                all rows.
            device: Where it computes.

        Raises:
            UserError: When the folder is incomplete or altered.
        """
        from gen_msa.models.inference.serialization import load_student

        self.loaded = load_student(folder)
        self._folder = folder
        module: Any = self.loaded.student
        self._module = module.to(device)
        self._select_rows = select_rows
        for p in module.parameters():
            p.requires_grad_(False)
        self._initial_digest = self._digest()

    def __call__(self, rows: Sequence[AspectExample]) -> tuple[Batch, Output]:
        """Return the batch of the rows and the teacher's output for it, without gradients."""
        import torch

        batch = self.loaded.collator(rows)
        batch = self._select_rows(batch) if self._select_rows else batch
        self._module.eval()
        with torch.no_grad():
            return batch, self.loaded.student(batch)

    def check(self) -> None:
        """Check that the teacher is unchanged.

        Raises:
            UserError: When its weights or its files were changed.
        """
        manifest.verify(self._folder)
        if self._digest() != self._initial_digest:
            raise UserError("the teacher's weights changed during training")

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, p in sorted(self._module.state_dict().items()):
            digest.update(name.encode() + p.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
