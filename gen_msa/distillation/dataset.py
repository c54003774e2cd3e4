"""Turn examples into rows: one aspect of one post, its label, and the teachers' probabilities.

What cannot become a row is counted with the reason; nothing is guessed.

    build_dataset(recipe.data[0], recipe).rows[0]       # AspectExample(id, text, aspect, target)
"""

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gen_msa import manifest
from gen_msa.data import open_examples
from gen_msa.data.label_leak import LABEL_FIELD_PATTERN
from gen_msa.distillation.recipe import DistillData, DistillRecipe
from gen_msa.errors import UserError, user_errors
from gen_msa.input_notes import InputNotes
from gen_msa.models import CLASSES, AspectExample, Batch, Output
from gen_msa.models.inputs.modalities import IMAGE_MODALITY, build_contexts, load_modalities
from gen_msa.predictors.image_counts import count_noted
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Opinion, Post, Rejected

# Teachers: files of opinions whose probabilities are learned, and a student that teaches another.

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


IndexedRow = tuple[AspectExample, int]
"""A row and the number of its post."""


@dataclass(frozen=True)
class RequiredInputs:
    """What a student and its teacher need besides text and labels."""

    modalities: tuple[str, ...] = ("text",)
    """Names of modalities."""
    cues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Cue sources that write the context."""


def add_inputs(
    rows: Sequence[IndexedRow],
    posts: Sequence[Post],
    root: Path,
    required: RequiredInputs,
    problems: Counter[str],
    images: Counter[str],
) -> list[IndexedRow]:
    """Add features of other modalities and contexts to rows.

    Args:
        rows: Rows, each with the index of its post.
        posts: All posts of the source.
        root: The folder that paths of media are relative to.
        required: Which modalities and cues to add.
        problems: Counts what could not be read, by reason; it is filled in place.
        images: Counts the images by `seen` or reason; it is filled in place.

    Returns:
        The rows in their order, with tensors and context added, each with the index of its post.
    """
    post_indices = sorted({post_index for _, post_index in rows})
    post_inputs = load_modalities([posts[i] for i in post_indices], root, required.modalities)
    for item in post_inputs:
        problems.update(f"{name} that cannot be read" for name in item.problems)
    takes_images = IMAGE_MODALITY in required.modalities
    for i, item in zip(post_indices, post_inputs, strict=True):
        problem = item.problems.get(IMAGE_MODALITY)
        note = f"{problem};" if problem else "" if takes_images else "not used"
        images += count_noted(posts[i], {"image": note})
    by_post = dict(zip(post_indices, post_inputs, strict=True))
    texts = _contexts(rows, posts, root, required)
    return [
        (replace(r, inputs=by_post[i].tensors, context=texts.get((i, r.aspect), "")), i)
        for r, i in rows
    ]


def _contexts(
    rows: Sequence[IndexedRow], posts: Sequence[Post], root: Path, required: RequiredInputs
) -> dict[tuple[int, Aspect], str]:
    if not required.cues:
        return {}
    aspects_by_post: dict[int, dict[Aspect, None]] = {}
    for row, post_index in rows:
        aspects_by_post.setdefault(post_index, {})[row.aspect] = None
    posts_with_aspects = [
        posts[i].model_copy(update={"aspects": tuple(a)}) for i, a in aspects_by_post.items()
    ]
    return {
        (post_index, aspect): text
        for (post_index, aspects), lines in zip(
            aspects_by_post.items(),
            build_contexts(posts_with_aspects, required.cues, root),
            strict=True,
        )
        for aspect, text in zip(aspects, lines, strict=True)
    }


FILTER_PREFIX = "failed."
"""Prefix of the keys of `Opinion.provenance` that name a filter which rejected the opinion."""


class RejectedAnswers:
    """One annotator's answers that filters rejected, by post and aspect."""

    def __init__(self, source: str, annotator: str, weights: Mapping[str, float]) -> None:
        """Read the `.rejected.jsonl` beside a source; nothing without weights.

        Args:
            source: A file that `gen-msa annotate` wrote.
            annotator: Whose answers are used.
            weights: Filter -> weight, 0..1; an answer gets the product over the filters that
                rejected it.

        Raises:
            UserError: When the file is missing, or a filter is named that rejected no answer.
        """
        self._answers: dict[str, dict[Aspect, tuple[Opinion, float]]] = {}
        if not weights:
            return
        path = Path(source).with_suffix(".rejected.jsonl")
        if not path.is_file():
            raise UserError(
                f"data.filters: no rejected answers at {path}",
                hint="`source` must be a file that gen-msa annotate wrote",
            )
        filters_in_file: set[str] = set()
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            post, opinion = _parse_answer(path, number, line)
            if opinion is None or opinion.annotator != annotator or opinion.polarity is None:
                continue
            filters = {
                k.removeprefix(FILTER_PREFIX)
                for k in opinion.provenance
                if k.startswith(FILTER_PREFIX)
            }
            filters_in_file |= filters
            self._add(post, opinion, _filter_weight(filters, weights))
        if unknown := sorted(set(weights) - filters_in_file):
            names = ", ".join(sorted(filters_in_file)) or "none"
            raise UserError(
                f"data.filters: {unknown[0]} rejected no answer of {annotator}; {names} did"
            )

    def for_example(self, example: Example) -> list[tuple[Opinion, float]]:
        """Return answers on aspects without an accepted one, each with its weight, above 0."""
        answers = self._answers.get(example.post.id, {})
        accepted = {(o.annotator, o.aspect) for o in example.opinions}
        return [(o, w) for o, w in answers.values() if (o.annotator, o.aspect) not in accepted]

    def _add(self, post: str, opinion: Opinion, weight: float) -> None:
        """Keep of several answers to one question that of highest weight; of equals the first."""
        by_aspect = self._answers.setdefault(post, {})
        if weight > by_aspect.get(opinion.aspect, (opinion, 0.0))[1]:
            by_aspect[opinion.aspect] = opinion, weight


def _filter_weight(filters: set[str], weights: Mapping[str, float]) -> float:
    """Return the weight of an answer; 0 without a filter, or with one that has no weight."""
    total = float(bool(filters))
    for name in filters:
        total *= weights.get(name, 0.0)
    return total


def _parse_answer(path: Path, number: int, line: bytes) -> tuple[str, Opinion | None]:
    with user_errors(
        f"{path}:{number}",
        "is not a rejected answer",
        hint="annotate again; recorded answers come from the answer cache",
    ):
        row = json.loads(line)
        opinion_json = row.get("opinion")
        opinion = Opinion.model_validate(opinion_json) if opinion_json else None
        return str(row.get("post", "")), opinion


@dataclass(frozen=True)
class DistillDataset:
    """The rows of one source."""

    source: str
    labels: str
    rows: tuple[AspectExample, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> number of rows or lines that could not be used, or only in part."""
    examples: tuple[Example, ...] = ()
    """The posts that the rows come from; row `n` is of `examples[post_indices[n]]`."""
    post_indices: tuple[int, ...] = ()
    rejected: int = 0
    """Rows of the source that could not be read."""
    images: Counter[str] = field(default_factory=Counter)
    """Images of the posts: `seen`, or why the student does not see them."""
    notes: InputNotes = field(default_factory=InputNotes)
    """What of the source was guessed or not used."""

    @property
    def sha256(self) -> str:
        """Return a hash over texts, aspects, labels and everything else that is learned."""
        digest = hashlib.sha256()
        for r in self.rows:
            fields: list[Any] = [r.text, r.aspect.term, r.aspect.start, r.target]
            fields += [x for x in (r.teacher_probs, r.context) if x] + [r.weight] * (
                r.weight != 1.0
            )
            digest.update(json.dumps(fields).encode() + b"\n")
            for name in sorted(r.inputs):
                digest.update(name.encode() + r.inputs[name].numpy().tobytes())
        return digest.hexdigest()


def build_dataset(
    data: DistillData, recipe: DistillRecipe, required: RequiredInputs | None = None
) -> DistillDataset:
    """Build the rows of one source.

    Args:
        data: The source; at most `data.limit` rows of it, always the same ones for a seed.
        recipe: The recipe of the run.
        required: What rows carry besides text and labels; None for nothing.

    Returns:
        The rows in the order of the source, with their posts and the counts of what was left out.

    Raises:
        UserError: When there is no row, or when the context of a dev row contains a label.
    """
    teachers = RecordedTeachers(data.teachers)
    left_out, source = teachers.left_out, open_examples(data.source, label_map=data.label_map)
    rejected, images = 0, Counter[str]()
    examples: list[Example] = []
    indexed_rows: list[tuple[AspectExample, int]] = []
    rejected_answers = RejectedAnswers(data.source, data.labels, data.filters)
    for example in source.rows():
        if isinstance(example, Rejected):
            left_out["line could not be read"] += 1
            rejected += 1
            continue
        opinions = _opinions_to_learn(example, data, rejected_answers)
        new_rows = _make_rows(example, opinions, data, recipe, teachers, left_out)
        indexed_rows += [(row, len(examples)) for row in new_rows]
        examples.append(example)
    if data.limit is not None and data.limit < len(indexed_rows):
        indices = random.Random(f"{recipe.seed}/{data.source}").sample(
            range(len(indexed_rows)), data.limit
        )
        indexed_rows = [indexed_rows[i] for i in sorted(indices)]
    if not indexed_rows:
        details = "; ".join(f"{reason}: {n:,}" for reason, n in left_out.items())
        raise UserError(
            f"{data.source} has no row to learn from ({details or 'it is empty'})",
            hint="`labels` names the annotator whose opinions are learned",
        )
    if required is not None:
        indexed_rows = add_inputs(
            indexed_rows, [e.post for e in examples], source.media_root, required, left_out, images
        )
    rows, post_indices = zip(*indexed_rows, strict=True)
    if data in recipe.dev:
        _check_label_leak(data, rows)
    return DistillDataset(
        data.source,
        data.labels,
        rows,
        left_out,
        tuple(examples),
        post_indices,
        rejected,
        images,
        source.notes,
    )


def _check_label_leak(data: DistillData, rows: Sequence[AspectExample]) -> None:
    """Check that no context contains a label: a student chosen by such rows would copy it."""
    leaks = [(r, m[0]) for r in rows if (m := LABEL_FIELD_PATTERN.search(r.context))]
    if leaks:
        row, matched = leaks[0]
        raise UserError(
            f"{data.source}: {len(leaks)} contexts contain a label, first {row.id}: {matched!r}",
            hint="write the contexts of dev posts again, without the label in the question",
        )


def _opinions_to_learn(
    example: Example, data: DistillData, rejected_answers: RejectedAnswers
) -> list[tuple[Opinion, float]]:
    """Return the opinions that are learned, each with its weight."""
    if not data.labels:
        aspects = example.post.aspects or (OVERALL_ASPECT,)
        return [(Opinion(annotator="none", aspect=a), 1.0) for a in aspects]
    return [
        *((o, 1.0) for o in example.opinions_by(data.labels)),
        *rejected_answers.for_example(example),
    ]


def _make_rows(
    example: Example,
    opinions: Sequence[tuple[Opinion, float]],
    data: DistillData,
    recipe: DistillRecipe,
    teachers: RecordedTeachers,
    left_out: Counter[str],
) -> Iterator[AspectExample]:
    if not opinions:
        left_out[f"post without an opinion by {data.labels}"] += 1
    for opinion, weight in opinions:
        text = example.post.text if recipe.text == "post" else opinion.explanation
        teacher_probs = teachers.mean_probs(example.post, opinion.aspect)
        if (
            opinion.polarity is None
            and not teacher_probs
            and not (recipe.teacher and not data.labels)
        ):
            left_out["opinion without a polarity"] += 1
        elif not (text or "").strip():
            left_out[f"opinion without {_TEXT_NAMES[recipe.text]} to read"] += 1
        else:
            if data.teachers and not teacher_probs:
                left_out["row without a teacher's opinion; learned from its label alone"] += 1
            yield AspectExample(
                _row_name(example, data, opinion.aspect),
                text or "",
                opinion.aspect,
                opinion.polarity,
                teacher_probs=teacher_probs,
                weight=data.weight
                * weight
                * (max(teacher_probs) ** data.confidence if teacher_probs else 1.0),
            )


_TEXT_NAMES = {"post": "a post", "explanation": "an explanation"}


def _row_name(example: Example, data: DistillData, aspect: Aspect) -> str:
    aspect_name = aspect.term if aspect.start is None else f"{aspect.term}@{aspect.start}"
    return f"{data.source}/{example.post.id}/{aspect_name or 'whole post'}"
