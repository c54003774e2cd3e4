"""How good the model is now: the dev posts are read as any reader reads them, and compared.

Answers are generated and parsed, never teacher-forced; one that cannot be read is wrong.
Explanations are measured against their own post: read whole, naming the aspect, quoting what stands
there. Knows nothing of training, and leaves the model and all random states as they were.

    devs = dev_posts(recipe)                       # fails at the start, not after an epoch
    judge_model(model, processor, devs).score      # what the best checkpoint is chosen by
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gen_msa.backends import Backend
from gen_msa.errors import UserError
from gen_msa.finetuning.devs import DevSet, load_dev_sets
from gen_msa.finetuning.judgement import ExplanationScores, SourceScores, ValidationResult, AnswerSample
from gen_msa.metrics.labels import f1, score_labels
from gen_msa.readers import Prediction
from gen_msa.readers.prompted import PromptedPredictor
from gen_msa.spans import SearchableText, fold
from gen_msa.types import Aspect, Example, Opinion, Status

BATCH_POSTS = 64
"""Posts read at once."""
NUM_SAMPLES = 20

AspectKey = tuple[int, int] | str
ProgressCallback = Callable[[int, int], None]


def validate(
    backend: Backend,
    dev_sets: Sequence[DevSet],
    *,
    seed: int = 0,
    step: int = 0,
    progress: ProgressCallback = lambda done, of: None,
) -> ValidationResult:
    """Let `backend` read every dev source and compare. `progress` gets posts done, and of how many.

    Raises `UserError` when no post of a source could be asked at all.
    """
    total, done = sum(len(d.examples) for d in dev_sets), 0
    source_scores: list[SourceScores] = []
    samples: list[AnswerSample] = []
    for dev_set in dev_sets:
        predictor = PromptedPredictor(backend, dev_set.inference, dev_set.media_root)
        predictions: list[Prediction] = []
        for start in range(0, len(dev_set.examples), BATCH_POSTS):
            predictions += predictor.predict([e.post for e in dev_set.examples[start : start + BATCH_POSTS]])
            progress(done + len(predictions), total)
        done += len(predictions)
        _raise_if_all_failed(dev_set, predictions)
        source_scores.append(_score_source(dev_set, predictions))
        samples += _answer_samples(dev_set, predictions)
    selected = [samples[i * len(samples) // NUM_SAMPLES] for i in range(min(NUM_SAMPLES, len(samples)))]
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
    progress: ProgressCallback = lambda done, of: None,
) -> ValidationResult:
    """`judge` with a model at hand, in the midst of its training; one bare of any DDP wrapper."""
    from gen_msa.backends.transformers import TransformersBackend

    base_model = model.get_base_model() if hasattr(model, "get_base_model") else model
    options = dev_sets[0].inference.backend
    with preserve_rng_and_mode(model):
        backend = TransformersBackend.from_model(base_model, processor, options, f"step-{step}")
        return validate(backend, dev_sets, seed=seed, step=step, progress=progress)


@contextmanager
def preserve_rng_and_mode(model: Any) -> Iterator[None]:
    """Whatever is done inside, each module's mode and every random state are as before after it."""
    import numpy
    import torch

    from gen_msa.backends.local import family

    modes = [(m, m.training) for m in model.modules()]
    rope = family.rope_module(model)
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
        refused = (r.rejection for r in predictions if r.rejection)
        reason = opinions[0].provenance.get("error", "") if opinions else next(refused, "nothing was said")
        raise UserError(f"none of the dev posts of {dev_set.data.source} could be asked: {reason}")


def _match_gold(
    dev_set: DevSet, predictions: Sequence[Prediction]
) -> Iterator[tuple[Example, Opinion, Opinion | None]]:
    """Every gold opinion with what was said of the same aspect, or None where nothing was."""
    for example, prediction in zip(dev_set.examples, predictions, strict=True):
        by_aspect = {_aspect_key(o.aspect): o for o in prediction.opinions}
        for gold in example.opinions:
            yield example, gold, by_aspect.get(_aspect_key(gold.aspect))


def _aspect_key(aspect: Aspect) -> AspectKey:
    """Where an aspect stands, or its folded words when it has no place."""
    return fold(aspect.term) if aspect.start is None else (aspect.start, aspect.end or 0)


def _score_source(dev_set: DevSet, predictions: Sequence[Prediction]) -> SourceScores:
    pairs = list(_match_gold(dev_set, predictions))
    opinions = [o for _, _, o in pairs]
    gold = [g.polarity for _, g, _ in pairs if g.polarity]
    scores = score_labels(gold, [o.polarity if o else None for o in opinions])
    joint_f1 = None
    if dev_set.prompt.task == "aspects":
        predicted_keys = {
            (i, _aspect_key(o.aspect))
            for i, r in enumerate(predictions)
            for o in r.opinions
            if o.aspect.term
        }
        joint_f1 = f1(scores.n_correct, len(predicted_keys), len(gold))
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
    """Figures of the explanations of answers that were to explain; None stands for no answer."""
    explained_opinions = [o for o in opinions if o and o.explanation]
    complete = [o for o in explained_opinions if o.provenance.get("explanation") != "cut"]
    of_aspect = [o for o in explained_opinions if o.aspect.term]
    quotes = [e for o in explained_opinions for e in o.evidence]
    return ExplanationScores(
        n=len(opinions),
        read=len(complete),
        of_aspect=len(of_aspect),
        naming_aspect=sum(SearchableText(o.explanation or "").find(o.aspect.term) is not None for o in of_aspect),
        with_quotes=sum(bool(o.evidence) for o in explained_opinions),
        quotes=len(quotes),
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


__all__ = ["DevSet", "ValidationResult", "load_dev_sets", "explanation_scores", "validate", "validate_model", "preserve_rng_and_mode"]
