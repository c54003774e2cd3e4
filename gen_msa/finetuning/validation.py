"""Validates the current model: predicts the dev posts, parses the answers, computes metrics.

Answers are generated and parsed, never teacher-forced; an answer that cannot be parsed is wrong.
Explanations are measured against their own post: parsed completely, naming the aspect, quoting text
that the post contains. Validation leaves the model's modes and all random states unchanged.

    dev_sets = load_dev_sets(recipe)                      # fails at the start, not after an epoch
    validate_model(model, processor, dev_sets).score      # selects the best checkpoint
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen_msa import prompting
from gen_msa.backends import Backend
from gen_msa.data.base import is_test_split
from gen_msa.errors import UserError
from gen_msa.finetuning.dataset import inference_for_source, load_examples
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from gen_msa.metrics import image_cluster
from gen_msa.metrics.labels import Scores, f1, label_metrics, score_labels
from gen_msa.predictors import Prediction, PredictorSettings
from gen_msa.predictors.prompted import PromptedPredictor
from gen_msa.prompting import Prompt
from gen_msa.prompting.parsing.opinions import INVENTED_QUOTES
from gen_msa.spans import SearchableText, fold
from gen_msa.types import (
    OVERALL_ASPECT,
    Aspect,
    Example,
    Opinion,
    Polarity,
    Status,
    given_polarities,
)


@dataclass(frozen=True)
class ExplanationScores:
    """Counts over `n` explanations that were requested."""

    n: int
    read: int
    """Neither empty nor cut at the token limit."""
    of_aspect: int
    """Explanations of an aspect, not of the post as a whole."""
    naming_aspect: int
    """Of those, how many contain the aspect's term (casefold and NFC)."""
    with_quotes: int
    """Explanations that quote anything besides the aspect's term."""
    quotes: int
    verbatim_quotes: int
    """Quotes that the post contains (casefold and NFC)."""

    @property
    def read_rate(self) -> float:
        """Share of explanations that were parsed completely, 0..1."""
        return self.read / self.n

    @property
    def named_rate(self) -> float | None:
        """Share that name their aspect, 0..1; None when none is of an aspect."""
        return self.naming_aspect / self.of_aspect if self.of_aspect else None

    @property
    def verbatim_rate(self) -> float | None:
        """Share of quotes that are verbatim, 0..1; None without a quote."""
        return self.verbatim_quotes / self.quotes if self.quotes else None


@dataclass(frozen=True)
class SourceScores:
    """Metrics of one dev source."""

    source: str
    prompt: str
    """`name@hash`."""
    data_sha256: str
    posts: int
    rejected_rows: int
    """Rows of the source that could not be read from disk; they enter no metric."""
    refused_posts: int
    """Posts that the predictor rejected; their aspects count as wrong."""
    reasked: int
    """Answers parsed only after a second, constrained request."""
    scores: Scores
    joint_f1: float | None = None
    """Micro-F1 of (span, polarity) over all posts; only where aspects are predicted."""
    explanations: ExplanationScores | None = None

    @property
    def score(self) -> float:
        """The selection metric: macro-F1, or the joint F1 where aspects are predicted."""
        return self.scores.macro_f1 if self.joint_f1 is None else self.joint_f1


@dataclass(frozen=True)
class AnswerSample:
    """One answer beside its gold label, for a person to read."""

    source: str
    post: str
    text: str
    aspect: str
    gold: Polarity | None
    predicted: Polarity | None
    status: Status
    explanation: str
    raw: str


@dataclass(frozen=True)
class ValidationResult:
    """Metrics of all dev sources at one step."""

    sources: tuple[SourceScores, ...]
    seed: int
    step: int
    revision: str
    samples: tuple[AnswerSample, ...] = ()

    @property
    def score(self) -> float:
        """Mean of the sources' selection metrics, each source weighted the same; 0..1."""
        return sum(s.score for s in self.sources) / len(self.sources)

    def as_json(self) -> dict[str, Any]:
        """Return every metric with n, interval, seed, prompt hash and data hash; shares in 0..1."""
        sources = [_source_metrics(s) for s in self.sources]
        return {"step": self.step, "seed": self.seed, "score": self.score, "sources": sources}

    def tracker_metrics(self) -> dict[str, float]:
        """Return the metrics that a tracker plots: `dev/SOURCE/accuracy` and others."""
        out = {"dev/score": self.score}
        for s in self.sources:
            values = {
                k: v
                for k, v in _source_metrics(s).items()
                if k in _TRACKED_METRICS and v is not None
            }
            out |= {f"dev/{s.source}/{k}": float(v) for k, v in values.items()}
        return out


_TRACKED_METRICS = ("read_rate", "accuracy", "macro_f1", "joint_f1")


def _source_metrics(source: SourceScores) -> dict[str, Any]:
    scores, explanations = source.scores, source.explanations
    explanation_metrics = explanations and {
        "n": explanations.n,
        "read_rate": explanations.read_rate,
        "aspect_named": explanations.named_rate,
        "aspect_named_n": explanations.of_aspect,
        "quoting": explanations.with_quotes,
        "quotes": explanations.quotes,
        "quotes_verbatim": explanations.verbatim_rate,
    }
    return {
        "source": source.source,
        "prompt": source.prompt,
        "data_sha256": source.data_sha256,
        "posts": source.posts,
        "rejected_rows": source.rejected_rows,
        "refused_posts": source.refused_posts,
        "n": scores.n,
        "read_rate": scores.read_rate,
        "reasked": source.reasked,
        **label_metrics(scores),
        "joint_f1": source.joint_f1,
        "explanations": explanation_metrics,
    }


@dataclass(frozen=True)
class DevSet:
    """One dev source, read from disk once and ready to be predicted."""

    data: FinetuneData
    prompt: Prompt
    inference: PredictorSettings
    media_root: Path
    examples: tuple[Example, ...]
    """Each with the gold opinions that the prompt can be compared with, and no others."""
    rejected_rows: int
    """Rows of the source that could not be read."""
    sha256: str
    """Over posts and gold labels: identifies the data of a metric."""


def load_dev_sets(recipe: FinetuneRecipe) -> tuple[DevSet, ...]:
    """Load the dev sources of a recipe, at most `dev_limit` posts of each, always the same.

    Raises:
        UserError: If a source is a test split, its prompt contains the label, or no post has a
            label to compare with.
    """
    return tuple(_load_dev_set(data, recipe) for data in recipe.dev)


def _load_dev_set(data: FinetuneData, recipe: FinetuneRecipe) -> DevSet:
    if is_test_split(data.source):
        raise UserError(f"{data.source}: a test split is never read while tuning")
    prompt = prompting.load_prompt(data.prompt)
    if prompt.takes_label:
        raise UserError(
            f"dev source {data.source}: {data.prompt} contains the label, which is no test",
            hint="use predict/full: it is validated by label and explanation",
        )
    limits = [n for n in (data.limit, recipe.dev_limit) if n is not None]
    limited_data = data.model_copy(update={"limit": min(limits, default=None)})
    candidates, rejected, media_root, _ = load_examples(limited_data, recipe.seed)
    labeled_examples = tuple(
        e for e in (_with_gold(c, data.labels, prompt) for c in candidates) if e.opinions
    )
    if not labeled_examples:
        raise UserError(
            f"dev source {data.source}: no label by {data.labels} to compare {data.prompt} with",
            hint="posts with one label for the whole post take predict/overall",
        )
    settings = inference_for_source(data, recipe).model_copy(
        update=_prompt_settings(prompt, data.prompt)
    )
    return DevSet(
        data,
        prompt,
        settings,
        media_root,
        labeled_examples,
        len(rejected),
        _data_sha256(labeled_examples),
    )


def _prompt_settings(prompt: Prompt, name: str) -> dict[str, str]:
    """Return the predictor settings that use this prompt and no other."""
    return {
        "aspect": {"aspects": "given", "prompt": name},
        "aspects": {"aspects": "model", "aspects_prompt": name},
        "overall": {"aspects": "overall", "overall_prompt": name},
    }[prompt.task]


def _with_gold(example: Example, annotator: str, prompt: Prompt) -> Example:
    """Return the example with the opinions of `annotator` that `prompt` asks about."""
    whole_post = prompt.task == "overall"
    gold_opinions = [
        o
        for o in example.opinions_by(annotator)
        if o.polarity and (o.aspect == OVERALL_ASPECT) == whole_post
    ]
    if prompt.task == "aspect":
        gold_opinions = [o for o in gold_opinions if o.aspect in example.post.aspects]
    return Example(post=example.post, opinions=tuple(gold_opinions))


def _data_sha256(labeled_examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for e in labeled_examples:
        digest.update(e.post.model_dump_json().encode())
        digest.update(
            str([(o.aspect.term, o.aspect.start, o.polarity) for o in e.opinions]).encode()
        )
    return digest.hexdigest()


BATCH_POSTS = 64
"""Posts predicted at a time."""
NUM_SAMPLES = 20

AspectKey = tuple[int, int] | str
ProgressCallback = Callable[[int, int], None]


def validate(
    backend: Backend,
    dev_sets: Sequence[DevSet],
    *,
    seed: int = 0,
    step: int = 0,
    progress: ProgressCallback = lambda done, total: None,
) -> ValidationResult:
    """Predict every dev source with a backend and compute the metrics.

    Args:
        backend: Answers the requests.
        dev_sets: As `load_dev_sets` returns them.
        seed: The seed of the run, recorded in the result.
        step: The optimiser step of the weights, recorded in the result.
        progress: Called with the number of posts done and their total.

    Returns:
        Metrics of each dev source in order, and up to `NUM_SAMPLES` answers spread over the posts.

    Raises:
        UserError: If no post of a source could be answered.
    """
    total, done = sum(len(d.examples) for d in dev_sets), 0
    source_scores: list[SourceScores] = []
    samples: list[AnswerSample] = []
    for dev_set in dev_sets:
        predictor = PromptedPredictor(backend, dev_set.inference, dev_set.media_root)
        predictions: list[Prediction] = []
        for start in range(0, len(dev_set.examples), BATCH_POSTS):
            predictions += predictor.predict(
                [e.post for e in dev_set.examples[start : start + BATCH_POSTS]]
            )
            progress(done + len(predictions), total)
        done += len(predictions)
        _raise_if_all_failed(dev_set, predictions)
        source_scores.append(_score_source(dev_set, predictions))
        samples += _answer_samples(dev_set, predictions)
    selected = [
        samples[i * len(samples) // NUM_SAMPLES] for i in range(min(NUM_SAMPLES, len(samples)))
    ]
    if len(samples) < NUM_SAMPLES:
        selected = samples
    return ValidationResult(tuple(source_scores), seed, step, backend.revision, tuple(selected))


def validate_model(
    model: Any,
    processor: Any,
    dev_sets: Sequence[DevSet],
    *,
    seed: int = 0,
    step: int = 0,
    progress: ProgressCallback = lambda done, total: None,
) -> ValidationResult:
    """Validate a model that is in memory, between two training steps.

    Args:
        model: A transformers or peft model, not a data-parallel wrapper.
        processor: Its processor, or its tokenizer for a text model.
        dev_sets: As `load_dev_sets` returns them.
        seed: The seed of the run, recorded in the result.
        step: The optimiser step of the weights, recorded in the result.
        progress: Called with the number of posts done and their total.

    Returns:
        As `validate` does; the model's mode and the random state are as before.

    Raises:
        UserError: If no post of a source could be answered.
    """
    from gen_msa.backends.transformers import TransformersBackend

    base_model = model.get_base_model() if hasattr(model, "get_base_model") else model
    options = dev_sets[0].inference.backend
    with preserve_rng_and_mode(model):
        backend = TransformersBackend.from_model(base_model, processor, options, f"step-{step}")
        return validate(backend, dev_sets, seed=seed, step=step, progress=progress)


@contextmanager
def preserve_rng_and_mode(model: Any) -> Iterator[None]:
    """Restore, on exit, the mode of every module of `model` and every random state."""
    import numpy
    import torch

    from gen_msa.backends.hf import model_traits

    modes = [(m, m.training) for m in model.modules()]
    rope = model_traits.rope_module(model)
    deltas = rope.rope_deltas if rope is not None else None
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    python_state, numpy_state = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng(sorted(devices)):
            yield
    finally:
        random.setstate(python_state)
        numpy.random.set_state(numpy_state)
        for module, mode in modes:
            module.training = mode
        if rope is not None:
            rope.rope_deltas = deltas


def _raise_if_all_failed(dev_set: DevSet, predictions: Sequence[Prediction]) -> None:
    opinions = [o for r in predictions for o in r.opinions]
    if all(o.status is Status.ERROR for o in opinions):
        rejections = (r.rejection for r in predictions if r.rejection)
        reason = (
            opinions[0].provenance.get("error", "")
            if opinions
            else next(rejections, "no opinion was given")
        )
        raise UserError(
            f"none of the dev posts of {dev_set.data.source} could be answered: {reason}"
        )


def _match_gold(
    dev_set: DevSet, predictions: Sequence[Prediction]
) -> Iterator[tuple[Example, Opinion, Opinion | None]]:
    """Yield every gold opinion with the prediction for its aspect.

    It is None if there is none, and if there are several that contradict each other.
    """
    for example, prediction in zip(dev_set.examples, predictions, strict=True):
        by_aspect: dict[AspectKey, Opinion | None] = {}
        for opinion in prediction.opinions:
            first = by_aspect.setdefault(_aspect_key(opinion.aspect), opinion)
            if first is not None and first.polarity is not opinion.polarity:
                by_aspect[_aspect_key(opinion.aspect)] = None
        for gold in example.opinions:
            yield example, gold, by_aspect.get(_aspect_key(gold.aspect))


def _aspect_key(aspect: Aspect) -> AspectKey:
    """Return the span of an aspect, or its folded term when it has no span."""
    return fold(aspect.term) if aspect.start is None else (aspect.start, aspect.end or 0)


def _joint_elements(
    posts: Iterable[Sequence[Opinion]],
) -> set[tuple[int, AspectKey, Polarity | None]]:
    """Return the set of (post, aspect, polarity) that joint F1 is about."""
    return {
        (i, _aspect_key(o.aspect), polarity)
        for i, opinions in enumerate(posts)
        for o in opinions
        if o.aspect.term
        for polarity in given_polarities(o)
    }


def _score_source(dev_set: DevSet, predictions: Sequence[Prediction]) -> SourceScores:
    pairs = list(_match_gold(dev_set, predictions))
    opinions = [o for _, _, o in pairs]
    gold = [g.polarity for _, g, _ in pairs if g.polarity]
    clusters = [image_cluster(e.post) for e, g, _ in pairs if g.polarity]
    scores = score_labels(gold, [o.polarity if o else None for o in opinions], clusters)
    joint_f1 = None
    if dev_set.prompt.task == "aspects":
        gold_elements = _joint_elements(e.opinions for e in dev_set.examples)
        predicted_elements = _joint_elements(r.opinions for r in predictions)
        n_correct = sum(e in gold_elements for e in predicted_elements if e[-1])
        joint_f1 = f1(n_correct, len(predicted_elements), len(gold_elements))
    return SourceScores(
        source=dev_set.data.source,
        prompt=dev_set.prompt.identity,
        data_sha256=dev_set.sha256,
        posts=len(dev_set.examples),
        rejected_rows=dev_set.rejected_rows,
        refused_posts=sum(bool(r.rejection) for r in predictions),
        reasked=sum(o is not None and o.status is Status.REPARSED for o in opinions),
        scores=scores,
        joint_f1=joint_f1,
        explanations=explanation_scores(opinions) if "explanation" in dev_set.prompt.keys else None,
    )


def explanation_scores(opinions: Sequence[Opinion | None]) -> ExplanationScores:
    """Return the counts for answers that should explain; None stands for no answer."""
    explained = [o for o in opinions if o and o.explanation]
    complete = [o for o in explained if o.provenance.get("explanation") != "cut"]
    of_aspect = [o for o in explained if o.aspect.term]
    quotes = [e for o in explained for e in o.evidence if e.source != "image"]
    invented = [int(o.provenance.get(INVENTED_QUOTES, 0)) for o in explained]
    return ExplanationScores(
        n=len(opinions),
        read=len(complete),
        of_aspect=len(of_aspect),
        naming_aspect=sum(
            SearchableText(o.explanation or "").find(o.aspect.term) is not None for o in of_aspect
        ),
        with_quotes=sum(bool(o.evidence or n) for o, n in zip(explained, invented, strict=True)),
        quotes=len(quotes) + sum(invented),
        verbatim_quotes=sum(e.start is not None for e in quotes),
    )


def _answer_samples(dev_set: DevSet, predictions: Sequence[Prediction]) -> list[AnswerSample]:
    return [
        AnswerSample(
            source=dev_set.data.source,
            post=example.post.id,
            text=example.post.text,
            aspect=gold.aspect.term,
            gold=gold.polarity,
            predicted=opinion.polarity if opinion else None,
            status=opinion.status if opinion else Status.EMPTY,
            explanation=(opinion.explanation if opinion else None) or "",
            raw=(opinion.raw if opinion else None) or "",
        )
        for example, gold, opinion in _match_gold(dev_set, predictions)
    ]
