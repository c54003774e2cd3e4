"""Record a model's answer to a fixed question with and without its adapter; compare it later.

Keys and hashes can be right and the adapted model still be the base model, or another one. So
training records the scores of the likeliest next tokens with and without the adapter, and whoever
loads it asks again. The question is a fixed text and, for a model with vision, a drawn image.

    probe = record_probe(peft_model, processor)
    measurement = measure_probe(peft_model, processor, probe.text, with_image=probe.with_image)
    compare_probe(probe, measurement, "float32")
"""

from typing import Any, NamedTuple

import torch
from pydantic import Field

from gen_msa.backends.hf import model_traits
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.image_inputs import ImageExpander
from gen_msa.chat import Chat, ImageInput, Request, TextInput, Turn
from gen_msa.settings import Settings

PROBE_TEXT = (
    "The battery lasts two days, but the screen broke within a week and nobody answers my mails. "
    "What does the post say about the screen: positive, negative or neutral, and why?"
)
MAX_TOP_TOKENS = 16
"""Likeliest tokens that are recorded of either model."""
TOLERANCE = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.5, "int8": 1.0, "nf4": 2.0}
"""Allowed difference of a log-probability (nats), by the coarser of both precisions."""
ROUNDING_SHARE = 0.2
"""Share of the adapter's effect by which another precision may change the scores: an adapter with a
strong effect rounds more coarsely than its base model."""
NO_EFFECT = 1e-7
"""Largest change of a log-probability (nats) that counts as no effect."""


class AdapterProbe(Settings):
    """The question and its recorded scores, in the adapter's `inference.json`."""

    text: str = Field(max_length=4000)
    with_image: bool
    precision: str
    ids: tuple[int, ...]
    """The prompt's token ids, images expanded."""
    tokens: tuple[int, ...]
    """Next tokens whose scores were recorded."""
    base: tuple[float, ...]
    """Log-probability (nats) of each without the adapter; empty when there was none."""
    adapted: tuple[float, ...]


class ProbeMeasurement(NamedTuple):
    """Log-probabilities at every position of the prompt: float32 `(length, vocabulary)`, on CPU."""

    ids: tuple[int, ...]
    adapted: torch.Tensor
    base: torch.Tensor | None
    """None for a model without an adapter."""

    def effect(self) -> float:
        """Return the largest change (nats) that the adapter makes anywhere in the prompt."""
        if self.base is None:
            return 0.0
        return float((self.adapted - self.base).abs().max())


def record_probe(model: Any, processor: Any, text: str = PROBE_TEXT) -> AdapterProbe:
    """Measure a model as it is now; a `PeftModel` with and without its adapter.

    Args:
        model: The model; its mode (training or evaluation) is restored afterwards.
        processor: Its processor, or its tokenizer.
        text: The question.

    Returns:
        The probe.
    """
    training = model.training
    model.eval()
    try:
        with_image = ChatTokenizer(processor).supports_images
        measurement = measure_probe(model, processor, text, with_image=with_image)
    finally:
        model.train(training)
    last_logprobs = [t[-1] for t in (measurement.adapted, measurement.base) if t is not None]
    token_ids = {
        int(i)
        for scores in last_logprobs
        for i in scores.topk(min(MAX_TOP_TOKENS, len(scores))).indices
    }
    tokens = tuple(sorted(token_ids))
    adapted, base = (
        _logprobs_at(measurement.adapted, tokens),
        _logprobs_at(measurement.base, tokens),
    )
    return AdapterProbe(
        text=text,
        with_image=with_image,
        precision=compute_precision(model),
        ids=measurement.ids,
        tokens=tokens,
        base=base,
        adapted=adapted,
    )


def measure_probe(
    model: Any, processor: Any, text: str = PROBE_TEXT, *, with_image: bool
) -> ProbeMeasurement:
    """Ask a model in evaluation mode; a `PeftModel` is asked with and without its adapter.

    Args:
        model: The model.
        processor: Its processor, or its tokenizer.
        text: The question.
        with_image: Whether to show the drawn image.

    Returns:
        Token ids and log-probabilities.
    """
    ids, inputs = _inputs(model, processor, text, with_image)
    adapted = _scores(model, inputs)
    base = None
    if hasattr(model, "peft_config"):
        with model.disable_adapter():
            base = _scores(model, inputs)
    return ProbeMeasurement(ids, adapted, base)


def compare_probe(
    probe: AdapterProbe, measurement: ProbeMeasurement, current_precision: str
) -> None:
    """Compare a measurement with the recorded probe.

    Args:
        probe: What was recorded in training.
        measurement: The answer now.
        current_precision: Precision of the model now, one of `TOLERANCE`.

    Raises:
        ValueError: Tokens, the base model's scores or the adapted ones differ by more than allowed.
    """
    if measurement.ids != probe.ids:
        raise ValueError("the processor gives other tokens for the probe than in training")
    allowed = max(TOLERANCE.get(p, TOLERANCE["nf4"]) for p in (probe.precision, current_precision))
    adapter_change = max(
        (abs(a - b) for a, b in zip(probe.adapted, probe.base, strict=False)), default=0.0
    )
    rounded_tolerance = (
        max(allowed, ROUNDING_SHARE * adapter_change)
        if current_precision != probe.precision
        else allowed
    )
    for name, recorded, scores, tolerance in (
        ("the base model", probe.base, measurement.base, allowed),
        ("the adapted model", probe.adapted, measurement.adapted, rounded_tolerance),
    ):
        if not recorded or scores is None:
            continue
        difference = max(
            abs(a - b) for a, b in zip(recorded, _logprobs_at(scores, probe.tokens), strict=True)
        )
        if not difference <= tolerance:
            raise ValueError(
                f"{name} scores the probe differently than in training: "
                f"off by {difference:.3g} nats, {tolerance:g} are allowed "
                f"({probe.precision} then, {current_precision} now)"
            )


def compute_precision(model: Any) -> str:
    """Return `nf4` or `int8` for quantised weights, else the compute dtype, e.g. `float32`."""
    base_model = model.get_base_model() if hasattr(model, "peft_config") else model
    if getattr(base_model, "is_loaded_in_4bit", False):
        return "nf4"
    if getattr(base_model, "is_loaded_in_8bit", False):
        return "int8"
    device_type = base_model.device.type
    autocast = torch.is_autocast_enabled(device_type)
    return str(torch.get_autocast_dtype(device_type) if autocast else base_model.dtype)[6:]


def _inputs(
    model: Any, processor: Any, text: str, with_image: bool
) -> tuple[tuple[int, ...], dict[str, torch.Tensor]]:
    base_model = model.get_base_model() if hasattr(model, "peft_config") else model
    chat_tokenizer = ChatTokenizer(processor)
    expander = ImageExpander(
        chat_tokenizer, lambda _: probe_image(), model_traits.image_token_ids(base_model, processor)
    )
    images = (
        (ImageInput(path="probe", sha256="0" * 64, max_pixels=224 * 224),) if with_image else ()
    )
    chat = Chat(turns=(Turn(role="user", parts=(*images, TextInput(text=text))),))
    row = expander.expand(chat_tokenizer.tokenize_request(0, Request(chat=chat, max_new_tokens=1)))
    ids = torch.tensor([row.ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **row.tensors}
    inputs |= {name: torch.tensor([values]) for name, values in row.per_token.items()}
    floats = {n: t.to(base_model.dtype) for n, t in inputs.items() if t.is_floating_point()}
    return tuple(row.ids), {n: t.to(base_model.device) for n, t in {**inputs, **floats}.items()}


def _scores(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(**inputs, use_cache=False).logits[0]
    return logits.float().log_softmax(-1).cpu()


def _logprobs_at(scores: torch.Tensor | None, tokens: tuple[int, ...]) -> tuple[float, ...]:
    return () if scores is None else tuple(round(float(scores[-1, t]), 6) for t in tokens)


def probe_image() -> Any:
    """Draw an image of 224 x 224: two colour ramps and a dark square; the same everywhere."""
    from PIL import Image

    ramp = Image.linear_gradient("L").resize((224, 224))
    image = Image.merge("RGB", (ramp, ramp.rotate(90), Image.new("L", (224, 224), 96)))
    image.paste((20, 20, 20), (80, 60, 150, 170))
    return image
