"""How much memory training takes on each of N GPUs: arithmetic, before any model is there.

Counts what the recipes' own comments count, and with several GPUs the way `sharding` splits: the
language model over all, vision tower whole in each. Estimates: kernels' scratch and fragments are
not in them, so leave a tenth of a GPU free. Knows nothing of recipes, devices or files.

    python -m eval.memory_estimate                     # the table of docs/scale.md
    lora(SHAPES["Qwen2.5-VL 3B"], gpus=1).total / 1e9        # 11.2
"""

import sys
from dataclasses import astuple, dataclass

RANK = 16
OVERHEAD = 1e9
"""Bytes: CUDA's own, and a vision tower at work."""
NF4 = 0.56
"""Bytes a weight: four bits and their scales."""


@dataclass(frozen=True)
class ModelShape:
    """A vision-language model by the numbers of its config."""

    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    """Width of keys and of values: key heads times the width of one."""
    vocab_size: int
    tied: bool
    """Embeddings and head are one matrix."""
    vision: float
    """Weights of tower and projector."""

    @property
    def layer(self) -> int:
        """Weights of one decoder layer."""
        attention = 2 * self.hidden * (self.hidden + self.kv_width)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def embeddings(self) -> int:
        """Weights of embeddings and head."""
        return self.vocab_size * self.hidden * (1 if self.tied else 2)

    @property
    def total(self) -> float:
        """All weights."""
        return self.layers * self.layer + self.embeddings + self.vision

    @property
    def lora(self) -> int:
        """Weights of a LoRA of rank `RANK` on every matrix of the decoder layers."""
        mlp = 3 * (self.hidden + self.intermediate)
        return RANK * self.layers * (4 * self.hidden + 2 * (self.hidden + self.kv_width) + mlp)


SHAPES = {
    "Qwen2.5-VL 3B": ModelShape(36, 2_048, 11_008, 256, 151_936, True, 0.669e9),
    "Qwen3-VL 8B": ModelShape(36, 4_096, 12_288, 1_024, 151_936, False, 0.576e9),
    "Qwen2.5-VL 72B": ModelShape(80, 8_192, 29_568, 1_024, 152_064, False, 0.7e9),
}


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on each GPU."""

    weights: float
    trained: float
    """What the optimiser needs: trained weights, their gradients and moments."""
    gathered: float
    """Whole weights at hand while the others are split."""
    activations: float
    """Kept by checkpointing, and those of the one layer that is computed again."""
    logits: float

    @property
    def total(self) -> float:
        """All of it, with `OVERHEAD`."""
        return float(sum(astuple(self))) + OVERHEAD


def lora(shape: ModelShape, gpus: int, tokens: int = 4_096, answers: int = 270) -> MemoryNeed:
    """LoRA over 16-bit weights. `tokens` and `answers` are of one GPU's batch.

    16 bytes a trained weight: itself, its gradient and Adam's two moments, in float32.
    """
    shardable = shape.total - shape.vision
    return MemoryNeed(
        weights=2 * (shardable / gpus + shape.vision),
        trained=16 * shape.lora / gpus,
        gathered=_gathered(shape, gpus),
        activations=_activations(shape, tokens),
        logits=_logits(shape, answers),
    )


def qlora(shape: ModelShape, tokens: int = 4_096, answers: int = 270) -> MemoryNeed:
    """LoRA over 4-bit decoder layers; on one GPU, or whole on each."""
    quantized = shape.layers * shape.layer
    return MemoryNeed(
        weights=NF4 * quantized + 2 * (shape.total - quantized),
        trained=16 * shape.lora,
        gathered=2 * shape.layer,  # unpacked while it is used
        activations=_activations(shape, tokens),
        logits=_logits(shape, answers),
    )


def full(shape: ModelShape, gpus: int, tokens: int = 4_096, answers: int = 270) -> MemoryNeed:
    """Every weight trained, all of it split (FSDP2); no recipe here does this.

    16 bytes a weight: 2 itself and 2 its gradient in 16 bits, 12 its float32 copy and moments.
    """
    return MemoryNeed(
        weights=2 * shape.total / gpus,
        trained=14 * shape.total / gpus,
        gathered=_gathered(shape, gpus),
        activations=_activations(shape, tokens),
        logits=_logits(shape, answers),
    )


def _gathered(shape: ModelShape, gpus: int) -> float:
    """One layer, and embeddings and head, which stay gathered through a step."""
    return 2.0 * (shape.layer + shape.embeddings) if gpus > 1 else 0.0


def _activations(shape: ModelShape, tokens: int) -> float:
    checkpointed = tokens * shape.layers * shape.hidden * 2
    recomputed = tokens * (24 * shape.hidden + 8 * shape.intermediate) * 2
    return float(checkpointed + recomputed)


def _logits(shape: ModelShape, answers: int) -> float:
    """Of answer tokens alone: 16-bit, float32, and the gradient."""
    return 12.0 * answers * shape.vocab_size


def table(cards: tuple[int, ...] = (80, 141), counts: tuple[int, ...] = (1, 8, 64)) -> str:
    """What fits, as Markdown: GB on each GPU and the cards (GB) with a tenth left free."""
    head = ["model", "trained", *(f"{n} GPU{'s' * (n > 1)}" for n in counts)]
    lines = [head, ["---"] * len(head)]
    for name, shape in SHAPES.items():
        methods = {
            "LoRA": [lora(shape, n) for n in counts],
            "QLoRA, whole on each": [qlora(shape)] * len(counts),
            "every weight": [full(shape, n) for n in counts],
        }
        for method, needs in methods.items():
            lines.append([name, method, *(_cell(need.total, cards) for need in needs)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(need: float, cards: tuple[int, ...]) -> str:
    fits = ", ".join(str(card) for card in cards if need <= 0.9e9 * card)
    return f"{need / 1e9:,.1f} GB: {fits or 'none'}"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
