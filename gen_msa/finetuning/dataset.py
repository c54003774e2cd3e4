"""Turns labelled examples into training rows: the request that a predictor sends, and its answer.

Requests are built by the predictors' own `RequestBuilder`, so that training shows what inference
will show. A row that cannot be built is recorded with its post and the reason.

    dataset = build_dataset(recipe, supports_images=True)
    dataset.samples, dataset.skipped
"""

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.finetuning import rationales
from gen_msa.finetuning.recipe import ExtraTask, FinetuneData, FinetuneRecipe
from gen_msa.input_notes import InputNotes
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.image_counts import count_noted
from gen_msa.predictors.prompted import (
    PostInputs,
    PostRejected,
    PromptRequest,
    RequestBuilder,
    load_inputs,
)
from gen_msa.prompting import TargetField, TrainingTarget, build_target
from gen_msa.training.input_check import check_input, count_unused
from gen_msa.types import OVERALL_ASPECT, Aspect, Cue, Example, Opinion, Polarity, Rejected

ALL_FIELDS: frozenset[TargetField] = frozenset({"label", "explanation", "aspect", "form"})


@dataclass(frozen=True)
class TrainingExample:
    """One request and the answer to learn."""

    name: str
    """`SOURCE/POST/ASPECT`: identifies the row in messages."""
    question: PromptRequest
    target: TrainingTarget
    polarity: Polarity | None
    """Its class, for class weights; None for a joint answer."""
    weight: float = 1.0
    """Among the rows of its task."""
    task: int = 0
    """0 for the source's own prompt, k for the k-th of `extra_tasks`."""
    task_weight: float = 1.0
    """Weight of its task relative to the first."""
    learn: frozenset[TargetField] = ALL_FIELDS
    """Fields of the answer that have a loss."""
    probs: Mapping[Polarity, float] | None = None
    """A teacher's probabilities of the labels, to be learned as they are."""


@dataclass(frozen=True)
class PostExamples:
    """The rows of one post: the unit of a batch."""

    name: str
    source: int
    """Index of the recipe's source that it came from."""
    rows: tuple[TrainingExample, ...]


@dataclass
class TrainingSet:
    """All samples, and what was left out and why."""

    samples: list[PostExamples] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(Name of the row or line, reason)."""
    without_rationale: int = 0
    """Rows whose explanation is unknown: only their label is learned."""
    rows_per_task: Counter[str] = field(default_factory=Counter)
    """Rows of each extra task, by its prompt."""
    missing_rationales: Counter[str] = field(default_factory=Counter)
    """Rows that an extra task lacks, by its prompt: the label has no rationale."""
    unused: Counter[str] = field(default_factory=Counter)
    """What of the sources was not used, by kind: rows, images, columns, labels."""

    def notes(self, *, soft_labels: bool = False) -> tuple[str, ...]:
        """Return notes on extra tasks and, with `soft_labels`, on a teacher's probabilities."""
        notes = [
            f"{name}: {self.rows_per_task[name]:,} rows besides the main task; "
            f"{self.missing_rationales[name]:,} without a rationale have the main task alone"
            for name in dict.fromkeys((*self.rows_per_task, *self.missing_rationales))
        ]
        if soft_labels:
            main_rows = [r for s in self.samples for r in s.rows if not r.task]
            with_probs = sum(r.probs is not None for r in main_rows)
            notes.append(
                f"loss.soft: {with_probs:,} of {len(main_rows):,} labels have probabilities"
            )
        return tuple(notes)


CHUNK_POSTS = 256
"""Posts whose cues are computed at a time."""


def build_dataset(recipe: FinetuneRecipe, *, supports_images: bool) -> TrainingSet:
    """Build every sample of the training sources, in order.

    Args:
        recipe: The recipe of the run.
        supports_images: Whether the model takes images.

    Returns:
        Samples in the order of sources and posts, with the rows that were skipped and why.

    Raises:
        UserError: If no row can be built, or a source or prompt is invalid.
    """
    dataset = TrainingSet()
    images: Counter[str] = Counter()
    sources: list[LoadedExamples] = []
    for i, data in enumerate(recipe.data):
        builder = _SourceBuilder(i, data, recipe, dataset, supports_images=supports_images)
        builder.build()
        sources.append(builder.loaded)
        images += builder.images if builder.shows_images else Counter()
    rejected = sum(len(s.rejected) for s in sources)
    check_input(
        images,
        rejected=rejected,
        n_rows=rejected + sum(len(s.examples) for s in sources),
        max_error_rate=recipe.max_error_rate,
    )
    dataset.unused = count_unused((s.notes for s in sources), rejected=rejected, images=images)
    if not dataset.samples:
        raise UserError(
            "no training row: no post has a label by " + ", ".join(d.labels for d in recipe.data),
            hint=f"look at {recipe.data[0].source} with gen-msa preview",
        )
    return dataset


class LoadedExamples(NamedTuple):
    """The examples of a source, and what of it was not read."""

    examples: list[Example]
    rejected: list[Rejected]
    media_root: Path
    """Folder that paths of images are relative to."""
    notes: InputNotes


def load_examples(data: FinetuneData, seed: int) -> LoadedExamples:
    """Load the examples of a source that have a label, and its rejected rows.

    Args:
        data: The source; at most `data.limit` examples are taken.
        seed: Decides which ones are taken.

    Returns:
        The examples and the rejected rows, each in the order of the source.
    """
    source = open_examples(data.source, label_map=data.label_map)
    accepted: list[Example] = []
    rejected: list[Rejected] = []
    for row in source.rows():
        if isinstance(row, Rejected):
            rejected.append(row)
        elif row.opinions_by(data.labels):
            accepted.append(row)
    if data.limit is not None and data.limit < len(accepted):
        indices = sorted(
            random.Random(f"{seed}/{data.source}").sample(range(len(accepted)), data.limit)
        )
        accepted = [accepted[i] for i in indices]
    return LoadedExamples(accepted, rejected, source.media_root, source.notes)


def inference_for_source(data: FinetuneData, recipe: FinetuneRecipe) -> PredictorSettings:
    """Return the predictor settings for the posts of a source.

    Args:
        data: The source, with its prompt and cues.
        recipe: The recipe, whose `inference` is the default.
    """
    cues = recipe.inference.cues if data.cues is None else data.cues
    return recipe.inference.model_copy(update={"prompt": data.prompt, "cues": cues})


class _SourceBuilder:
    """Builds the samples of one source."""

    def __init__(
        self,
        index: int,
        data: FinetuneData,
        recipe: FinetuneRecipe,
        dataset: TrainingSet,
        *,
        supports_images: bool,
    ) -> None:
        self.index = index
        self.data = data
        self.dataset = dataset
        self.settings = inference_for_source(data, recipe)
        self.uses_soft_labels = recipe.loss.soft > 0
        self.loaded = load_examples(data, recipe.seed)
        self.examples, self.media_root = self.loaded.examples, self.loaded.media_root
        dataset.skipped += [(f"{r.file}:{r.line}", r.reason) for r in self.loaded.rejected]
        show_images = supports_images and data.images
        self.shows_images = show_images
        self.images: Counter[str] = Counter()
        self.request_builder = RequestBuilder(
            data.prompt, self.settings, self.media_root, supports_images=show_images
        )
        self.extra_tasks = [
            (task, self._extra_task_builder(task, show_images)) for task in data.extra_tasks
        ]
        self.rationales = rationales.find_sources(data.rationales)

    def build(self) -> None:
        for start in range(0, len(self.examples), CHUNK_POSTS):
            chunk = [self._select_opinions(e) for e in self.examples[start : start + CHUNK_POSTS]]
            explained = self.rationales.explain([e for e in chunk if e], self.data.labels)
            self._add_posts(explained)

    def _extra_task_builder(self, task: ExtraTask, show_images: bool) -> RequestBuilder:
        """Return the builder of an extra task; it shows what the main prompt shows, no more."""
        settings = self.settings.model_copy(update={"prompt": task.prompt})
        builder = RequestBuilder(
            task.prompt, settings, self.media_root, supports_images=show_images
        )
        main_prompt, task_prompt = self.request_builder.prompt, builder.prompt
        problem = ""
        if task_prompt.task != main_prompt.task or main_prompt.task == "aspects":
            problem = f"is of task {task_prompt.task!r}, {main_prompt.name} of {main_prompt.task!r}"
        elif task_prompt.takes_label:
            problem = "contains the label, which no extra task may see"
        elif extra := sorted(set(task_prompt.slots) - set(main_prompt.slots)):
            problem = f"shows {', '.join(extra)}, which {main_prompt.name} does not"
        if problem:
            raise UserError(
                f"extra_tasks: {task_prompt.name} {problem}", hint="make it a source of its own"
            )
        return builder

    def _select_opinions(self, example: Example) -> Example | None:
        """Return the example with the labels that this prompt can ask about."""
        is_joint, is_overall = (
            self.request_builder.prompt.task == t for t in ("aspects", "overall")
        )
        opinions = [o for o in example.opinions_by(self.data.labels) if o.polarity is not None]
        opinions = [o for o in opinions if (o.aspect == OVERALL_ASPECT) == is_overall]
        listed_aspects = set(example.post.aspects)
        if not is_overall and not is_joint:
            opinions = [o for o in opinions if o.aspect in listed_aspects]
        if not opinions:
            self._skip(
                self._row_name(example.post.id),
                f"no label by {self.data.labels} for {self.data.prompt}",
            )
            return None
        others = (o for o in example.opinions if o.annotator != self.data.labels)
        return Example(post=example.post, opinions=(*opinions, *others))

    def _add_posts(self, examples: Sequence[Example]) -> None:
        post_inputs: list[tuple[PostInputs, Example]] = []
        for example in examples:
            post = example.post
            if self.request_builder.prompt.task == "overall":
                post = post.model_copy(update={"aspects": (OVERALL_ASPECT,)})
            try:
                post_inputs.append(
                    (load_inputs(len(post_inputs), post, self.media_root, self.settings), example)
                )
            except PostRejected as e:
                self._skip(self._row_name(post.id), e.reason)
            else:
                self.images += count_noted(post, post_inputs[-1][0].provenance)
        cue_lists = self.request_builder.write_cues([s for s, _ in post_inputs])
        for (inputs, example), cues in zip(post_inputs, cue_lists, strict=True):
            rows = tuple(self._post_rows(inputs, example, cues))
            if rows:
                self.dataset.samples.append(
                    PostExamples(self._row_name(inputs.post.id), self.index, rows)
                )

    def _post_rows(
        self, inputs: PostInputs, example: Example, cues_per_aspect: Sequence[Mapping[str, Cue]]
    ) -> Iterator[TrainingExample]:
        prompt, by_aspect = (
            self.request_builder.prompt,
            dict(zip(inputs.post.aspects, cues_per_aspect, strict=True)),
        )
        opinions = example.opinions_by(self.data.labels)
        if prompt.task == "aspects":
            yield from self._make_rows(
                self.request_builder.build_one(inputs, OVERALL_ASPECT, {}), opinions
            )
            return
        for opinion in opinions:
            label = opinion.polarity if prompt.takes_label else None
            if prompt.takes_label and not opinion.explanation:
                self._skip(
                    self._row_name(inputs.post.id, opinion.aspect), "no explanation to learn"
                )
                continue
            cues = by_aspect[opinion.aspect]
            question = self.request_builder.build_one(inputs, opinion.aspect, cues, label)
            probs = self._teacher_probs(example, opinion.aspect)
            for row in self._make_rows(question, (opinion,)):
                yield dataclasses.replace(row, probs=probs)
                yield from self._extra_task_rows(inputs, opinion, cues)

    def _extra_task_rows(
        self, inputs: PostInputs, opinion: Opinion, cues: Mapping[str, Cue]
    ) -> Iterator[TrainingExample]:
        """Yield the rows of the extra tasks for one aspect; none sees the label."""
        for k, (task, builder) in enumerate(self.extra_tasks, start=1):
            if "explanation" in builder.prompt.keys and not opinion.explanation:
                self.dataset.missing_rationales[task.prompt] += 1
                continue
            for row in self._make_rows(builder.build_one(inputs, opinion.aspect, cues), (opinion,)):
                self.dataset.rows_per_task[task.prompt] += 1
                yield dataclasses.replace(
                    row,
                    name=f"{row.name} ({task.prompt})",
                    task=k,
                    task_weight=task.weight,
                    learn=frozenset(task.learn),
                )

    def _make_rows(
        self, question: PromptRequest, opinions: Sequence[Opinion]
    ) -> Iterator[TrainingExample]:
        name = self._row_name(
            question.inputs.post.id, opinions[0].aspect if len(opinions) == 1 else None
        )
        try:
            answer = build_target(question.prompt, opinions)
            weight = opinion_weight(opinions, self.data.confidence)
        except (UserError, ValueError) as e:
            self._skip(name, str(e))
            return
        self.dataset.without_rationale += not answer.complete
        is_joint = question.prompt.task == "aspects"
        yield TrainingExample(
            name, question, answer, None if is_joint else opinions[0].polarity, weight
        )

    def _teacher_probs(self, example: Example, aspect: Aspect) -> dict[Polarity, float] | None:
        """Return the probabilities by `data.soft_labels`, averaged over repeated opinions."""
        opinions = example.opinions_by(self.data.soft_labels or self.data.labels)
        if not self.uses_soft_labels:
            return None
        distributions = [o.probs for o in opinions if o.aspect == aspect and o.probs]
        if not distributions:
            return None
        return {p: sum(f.get(p, 0.0) for f in distributions) / len(distributions) for p in Polarity}

    def _row_name(self, post: str, aspect: Aspect | None = None) -> str:
        base = f"{self.data.source}/{post}"
        return f"{base}/{aspect.term or 'whole post'}" if aspect else base

    def _skip(self, name: str, reason: str) -> None:
        self.dataset.skipped.append((name, reason))


def opinion_weight(opinions: Sequence[Opinion], confidence: float = 0.0) -> float:
    """Return the mean weight of opinions (`provenance["weight"]`; 1 where none is given).

    Each is multiplied by the probability of its polarity to the power `confidence`.

    Args:
        opinions: The labels of one row.
        confidence: The exponent, >= 0; 0 ignores the probabilities.

    Raises:
        ValueError: If a weight is not a positive number, or a required probability is missing.
    """
    probabilities = [o.probability if confidence else 1.0 for o in opinions]
    if None in probabilities:
        raise ValueError("no probability of the label to weigh it by (data.N.confidence)")
    weights: list[float] = [
        float(o.provenance.get("weight", 1)) * (p or 0.0) ** confidence
        for o, p in zip(opinions, probabilities, strict=True)
    ]
    if not all(0 < w < float("inf") for w in weights):
        raise ValueError(f"weight must be a positive number, not {weights}")
    return sum(weights) / len(weights)
