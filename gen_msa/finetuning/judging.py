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
from gen_msa.finetuning.devs import Dev, dev_posts
from gen_msa.finetuning.judgement import Explained, Judged, Judgement, Sample
from gen_msa.metrics.labels import f1, score
from gen_msa.readers import Reading
from gen_msa.readers.prompted import Prompted
from gen_msa.spans import Spans, fold
from gen_msa.types import Aspect, Example, Opinion, Status

TOGETHER = 64
"""Posts read at once."""
SAMPLES = 20

Place = tuple[int, int] | str
Progress = Callable[[int, int], None]


def judge(
    backend: Backend,
    devs: Sequence[Dev],
    *,
    seed: int = 0,
    step: int = 0,
    progress: Progress = lambda done, of: None,
) -> Judgement:
    """Let `backend` read every dev source and compare. `progress` gets posts done, and of how many.

    Raises `UserError` when no post of a source could be asked at all.
    """
    total, done = sum(len(d.examples) for d in devs), 0
    judged: list[Judged] = []
    samples: list[Sample] = []
    for dev in devs:
        reader = Prompted(backend, dev.reading, dev.media_root)
        readings: list[Reading] = []
        for at in range(0, len(dev.examples), TOGETHER):
            readings += reader.read([e.post for e in dev.examples[at : at + TOGETHER]])
            progress(done + len(readings), total)
        done += len(readings)
        _stop_if_unasked(dev, readings)
        judged.append(_judged(dev, readings))
        samples += _samples(dev, readings)
    chosen = [samples[i * len(samples) // SAMPLES] for i in range(min(SAMPLES, len(samples)))]
    if len(samples) < SAMPLES:
        chosen = samples
    return Judgement(tuple(judged), seed, step, backend.revision, tuple(chosen))


def judge_model(
    model: Any,
    processor: Any,
    devs: Sequence[Dev],
    *,
    seed: int = 0,
    step: int = 0,
    progress: Progress = lambda done, of: None,
) -> Judgement:
    """`judge` with a model at hand, in the midst of its training; one bare of any DDP wrapper."""
    from gen_msa.backends.transformers import TransformersBackend

    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    options = devs[0].reading.backend
    with undisturbed(model):
        backend = TransformersBackend.of(bare, processor, options, f"step-{step}")
        return judge(backend, devs, seed=seed, step=step, progress=progress)


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Whatever is done inside, each module's mode and every random state are as before after it."""
    import numpy
    import torch

    from gen_msa.backends.local import family

    modes = [(m, m.training) for m in model.modules()]
    rope = family.rope_owner(model)
    deltas = rope.rope_deltas if rope is not None else None
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    python, numbers = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng(sorted(devices)):
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(numbers)
        for module, mode in modes:
            module.training = mode
        if rope is not None:
            rope.rope_deltas = deltas


def _stop_if_unasked(dev: Dev, readings: Sequence[Reading]) -> None:
    said = [o for r in readings for o in r.opinions]
    if all(o.status is Status.ERROR for o in said):
        refused = (r.refused for r in readings if r.refused)
        why = said[0].how.get("error", "") if said else next(refused, "nothing was said")
        raise UserError(f"none of the dev posts of {dev.data.source} could be asked: {why}")


def _pairs(
    dev: Dev, readings: Sequence[Reading]
) -> Iterator[tuple[Example, Opinion, Opinion | None]]:
    """Every gold opinion with what was said of the same aspect, or None where nothing was."""
    for example, reading in zip(dev.examples, readings, strict=True):
        said = {_place(o.aspect): o for o in reading.opinions}
        for gold in example.opinions:
            yield example, gold, said.get(_place(gold.aspect))


def _place(aspect: Aspect) -> Place:
    """Where an aspect stands, or its folded words when it has no place."""
    return fold(aspect.term) if aspect.start is None else (aspect.start, aspect.end or 0)


def _judged(dev: Dev, readings: Sequence[Reading]) -> Judged:
    pairs = list(_pairs(dev, readings))
    said = [o for _, _, o in pairs]
    gold = [g.polarity for _, g, _ in pairs if g.polarity]
    scores = score(gold, [o.polarity if o else None for o in said])
    joint = None
    if dev.prompt.task == "aspects":
        named = {
            (i, _place(o.aspect))
            for i, r in enumerate(readings)
            for o in r.opinions
            if o.aspect.term
        }
        joint = f1(scores.right, len(named), len(gold))
    return Judged(
        source=dev.data.source,
        prompt=dev.prompt.identity,
        data_sha256=dev.sha256,
        posts=len(dev.examples),
        rejected=dev.rejected,
        refused=sum(bool(r.refused) for r in readings),
        reasked=sum(o is not None and o.status is Status.REPARSED for o in said),
        scores=scores,
        joint_f1=joint,
        explained=explained(said) if "explanation" in dev.prompt.keys else None,
    )


def explained(said: Sequence[Opinion | None]) -> Explained:
    """Figures of the explanations of answers that were to explain; None stands for no answer."""
    found = [o for o in said if o and o.explanation]
    whole = [o for o in found if o.how.get("explanation") != "cut"]
    about = [o for o in found if o.aspect.term]
    quotes = [e for o in found for e in o.evidence]
    return Explained(
        n=len(said),
        read=len(whole),
        of_aspect=len(about),
        named=sum(Spans(o.explanation or "").find(o.aspect.term) is not None for o in about),
        quoting=sum(bool(o.evidence) for o in found),
        quotes=len(quotes),
        verbatim=sum(e.start is not None for e in quotes),
    )


def _samples(dev: Dev, readings: Sequence[Reading]) -> list[Sample]:
    return [
        Sample(
            source=dev.data.source,
            post=example.post.id,
            text=example.post.text,
            aspect=gold.aspect.term,
            gold=gold.polarity,
            said=said.polarity if said else None,
            status=said.status if said else Status.EMPTY,
            explanation=(said.explanation if said else None) or "",
            raw=(said.raw if said else None) or "",
        )
        for example, gold, said in _pairs(dev, readings)
    ]


__all__ = ["Dev", "Judgement", "dev_posts", "explained", "judge", "judge_model", "undisturbed"]
