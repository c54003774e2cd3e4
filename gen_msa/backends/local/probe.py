"""What a model says to one fixed question, before and after it is adapted: the proof of an adapter.

Keys and hashes can be right and the adapted model still be the bare one, or another. So training
records the scores of the likeliest next words with and without the adapter, and whoever loads it
asks again. The question is our own words and, for a model with eyes, a drawn picture.

    probe = record(peft_model, processor)
    check(probe, measure(peft_model, processor, probe.text, pictured=probe.pictured), "float32")
"""

from typing import Any, NamedTuple

import torch
from pydantic import Field

from gen_msa.backends.local import family
from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander
from gen_msa.chat import Chat, Picture, Request, Text, Turn
from gen_msa.settings import Settings

TEXT = (
    "The battery lasts two days, but the screen broke within a week and nobody answers my mails. "
    "What does the post say about the screen: positive, negative or neutral, and why?"
)
KEPT = 16
"""Likeliest tokens kept of either model."""
TOLERANCE = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.5, "int8": 1.0, "nf4": 2.0}
"""Nats a log-probability may be off, by the coarser of the precisions then and now."""
ROUNDED = 0.2
"""Share of what the adapter does to the probe that another precision may change: what was trained
hard in bfloat16 is off by more than a bare model is."""
NOTHING = 1e-7
"""Largest change of a log-probability that counts as none."""


class Probe(Settings):
    """The question and the scores that were given to it, in the adapter's `reading.json`."""

    text: str = Field(max_length=4000)
    pictured: bool
    precision: str
    ids: tuple[int, ...]
    """The prompt's tokens, pictures expanded."""
    tokens: tuple[int, ...]
    """Next tokens that were watched."""
    base: tuple[float, ...]
    """Log-probability (nats) of each without the adapter; empty when there was none."""
    adapted: tuple[float, ...]


class Measured(NamedTuple):
    """Log-probabilities at every place of the prompt: float32 (length, vocabulary), on the CPU."""

    ids: tuple[int, ...]
    adapted: torch.Tensor
    base: torch.Tensor | None
    """None for a model that wears no adapter."""

    def effect(self) -> float:
        """Largest change (nats) that the adapter makes anywhere in the prompt."""
        if self.base is None:
            return 0.0
        return float((self.adapted - self.base).abs().max())


def record(model: Any, processor: Any, text: str = TEXT) -> Probe:
    """The probe of a model as it is now; for a `PeftModel` with and without its adapter.

    The model's mode (training or evaluation) is as before afterwards.
    """
    training = model.training
    model.eval()
    try:
        pictured = Layout(processor).sees_pictures
        found = measure(model, processor, text, pictured=pictured)
    finally:
        model.train(training)
    last = [t[-1] for t in (found.adapted, found.base) if t is not None]
    best = {int(i) for scores in last for i in scores.topk(min(KEPT, len(scores))).indices}
    tokens = tuple(sorted(best))
    after, before = _at(found.adapted, tokens), _at(found.base, tokens)
    return Probe(
        text=text,
        pictured=pictured,
        precision=precision(model),
        ids=found.ids,
        tokens=tokens,
        base=before,
        adapted=after,
    )


def measure(model: Any, processor: Any, text: str = TEXT, *, pictured: bool) -> Measured:
    """Ask a model in evaluation mode; a `PeftModel` is asked with and without its adapter."""
    ids, inputs = _inputs(model, processor, text, pictured)
    adapted = _scores(model, inputs)
    base = None
    if hasattr(model, "peft_config"):
        with model.disable_adapter():
            base = _scores(model, inputs)
    return Measured(ids, adapted, base)


def check(probe: Probe, found: Measured, now: str) -> None:
    """Compare with what was recorded. `now` is the precision of the model asked.

    Raises `ValueError` saying what differs: tokens, the base's scores, or the adapted ones.
    """
    if found.ids != probe.ids:
        raise ValueError("the processor makes other tokens of the probe than it did in training")
    allowed = max(TOLERANCE.get(p, TOLERANCE["nf4"]) for p in (probe.precision, now))
    done = max((abs(a - b) for a, b in zip(probe.adapted, probe.base, strict=False)), default=0.0)
    rounded = max(allowed, ROUNDED * done) if now != probe.precision else allowed
    for name, then, scores, most in (
        ("the base model", probe.base, found.base, allowed),
        ("the adapted model", probe.adapted, found.adapted, rounded),
    ):
        if not then or scores is None:
            continue
        off = max(abs(a - b) for a, b in zip(then, _at(scores, probe.tokens), strict=True))
        if not off <= most:
            raise ValueError(
                f"{name} scores the probe otherwise than in training: off by {off:.3g} nats, "
                f"{most:g} are allowed ({probe.precision} then, {now} now)"
            )


def precision(model: Any) -> str:
    """`nf4` or `int8` for quantised weights, else the dtype computed in: `float32`, …"""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    if getattr(inner, "is_loaded_in_4bit", False):
        return "nf4"
    if getattr(inner, "is_loaded_in_8bit", False):
        return "int8"
    kind = inner.device.type
    autocast = torch.is_autocast_enabled(kind)
    return str(torch.get_autocast_dtype(kind) if autocast else inner.dtype)[6:]


def _inputs(
    model: Any, processor: Any, text: str, pictured: bool
) -> tuple[tuple[int, ...], dict[str, torch.Tensor]]:
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    layout = Layout(processor)
    expander = Expander(layout, lambda _: drawn(), family.picture_ids(inner, processor))
    seen = (Picture(path="probe", sha256="0" * 64, max_pixels=224 * 224),) if pictured else ()
    chat = Chat(turns=(Turn(role="user", parts=(*seen, Text(text=text))),))
    row = expander.expand(layout.row(0, Request(chat=chat, max_new_tokens=1)))
    ids = torch.tensor([row.ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **row.tensors}
    inputs |= {name: torch.tensor([values]) for name, values in row.aligned.items()}
    floats = {n: t.to(inner.dtype) for n, t in inputs.items() if t.is_floating_point()}
    return tuple(row.ids), {n: t.to(inner.device) for n, t in {**inputs, **floats}.items()}


def _scores(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(**inputs, use_cache=False).logits[0]
    return logits.float().log_softmax(-1).cpu()


def _at(scores: torch.Tensor | None, tokens: tuple[int, ...]) -> tuple[float, ...]:
    return () if scores is None else tuple(round(float(scores[-1, t]), 6) for t in tokens)


def drawn() -> Any:
    """A picture of 224 x 224: two ramps of colour and a dark square. The same everywhere."""
    from PIL import Image

    ramp = Image.linear_gradient("L").resize((224, 224))
    picture = Image.merge("RGB", (ramp, ramp.rotate(90), Image.new("L", (224, 224), 96)))
    picture.paste((20, 20, 20), (80, 60, 150, 170))
    return picture
