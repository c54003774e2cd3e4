"""Estimates the memory of training on each of N GPUs, by arithmetic, without loading a model.

Counts the terms of the recipes' comments; with several GPUs the language model is sharded and the
vision encoder replicated, as `gen_msa.training.fsdp` does. Scratch memory of kernels and
fragmentation are not included, so leave a tenth of a GPU free.

    python eval/memory_estimate.py                           # the table of docs/scale.md
    lora(SHAPES["Qwen2.5-VL 3B"], gpus=1).total / 1e9        # 11.2
"""

import sys
from dataclasses import astuple, dataclass

RANK = 16
OVERHEAD = 1e9
"""Bytes: the CUDA context, and a vision encoder at work."""
NF4 = 0.56
"""Bytes per weight: four bits and the scales."""


@dataclass(frozen=True)
class ModelShape:
    """The size of a vision-language model, from its config."""

    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    """Width of keys and of values: number of key heads times head size."""
    vocab_size: int
    tied: bool
    """Whether embeddings and head share one matrix."""
    vision: float
    """Weights of vision encoder and projector."""

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
    """Trained weights, their gradients and the moments of the optimiser."""
    gathered: float
    """Gathered weights, while the others are sharded."""
    activations: float
    """Those kept by checkpointing, and those of the one layer that is recomputed."""
    logits: float

    @property
    def total(self) -> float:
        """The sum, with `OVERHEAD`."""
        return float(sum(astuple(self))) + OVERHEAD


def lora(shape: ModelShape, gpus: int, tokens: int = 4_096, answers: int = 270) -> MemoryNeed:
    """Estimate LoRA over 16-bit weights.

    A trained weight takes 16 bytes: itself, its gradient and two Adam moments, in float32.

    Args:
        shape: The model.
        gpus: Number of GPUs.
        tokens: Tokens in the batch of one GPU.
        answers: Answer tokens among them.
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
    """Estimate LoRA over 4-bit decoder layers, on one GPU or replicated on each.

    Args:
        shape: The model.
        tokens: Tokens in the batch of one GPU.
        answers: Answer tokens among them.
    """
    quantized = shape.layers * shape.layer
    return MemoryNeed(
        weights=NF4 * quantized + 2 * (shape.total - quantized),
        trained=16 * shape.lora,
        gathered=2 * shape.layer,  # dequantized while in use
        activations=_activations(shape, tokens),
        logits=_logits(shape, answers),
    )


def full(shape: ModelShape, gpus: int, tokens: int = 4_096, answers: int = 270) -> MemoryNeed:
    """Estimate full fine-tuning, all weights sharded (FSDP2); no recipe here does this.

    A weight takes 16 bytes: 2 itself and 2 its gradient in 16 bits, 12 its float32 copy and
    moments.

    Args:
        shape: The model.
        gpus: Number of GPUs.
        tokens: Tokens in the batch of one GPU.
        answers: Answer tokens among them.
    """
    return MemoryNeed(
        weights=2 * shape.total / gpus,
        trained=14 * shape.total / gpus,
        gathered=_gathered(shape, gpus),
        activations=_activations(shape, tokens),
        logits=_logits(shape, answers),
    )


def _gathered(shape: ModelShape, gpus: int) -> float:
    """Return the bytes of one layer, and of embeddings and head, which stay gathered in a step."""
    return 2.0 * (shape.layer + shape.embeddings) if gpus > 1 else 0.0


def _activations(shape: ModelShape, tokens: int) -> float:
    checkpointed = tokens * shape.layers * shape.hidden * 2
    recomputed = tokens * (24 * shape.hidden + 8 * shape.intermediate) * 2
    return float(checkpointed + recomputed)


def _logits(shape: ModelShape, answers: int) -> float:
    """Return the bytes of the logits of answer tokens: 16-bit, float32, and their gradient."""
    return 12.0 * answers * shape.vocab_size


def table(gpu_sizes: tuple[int, ...] = (80, 141), counts: tuple[int, ...] = (1, 8, 64)) -> str:
    """Return the table of what fits, as Markdown: GB on each GPU, and the GPU sizes that suffice.

    Args:
        gpu_sizes: Sizes in GB; a tenth is left free.
        counts: Numbers of GPUs.
    """
    head = ["model", "trained", *(f"{n} GPU{'s' * (n > 1)}" for n in counts)]
    lines = [head, ["---"] * len(head)]
    for name, shape in SHAPES.items():
        methods = {
            "LoRA": [lora(shape, n) for n in counts],
            "QLoRA, replicated": [qlora(shape)] * len(counts),
            "full": [full(shape, n) for n in counts],
        }
        for method, needs in methods.items():
            lines.append([name, method, *(_cell(need.total, gpu_sizes) for need in needs)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(need: float, gpu_sizes: tuple[int, ...]) -> str:
    fits = ", ".join(str(size) for size in gpu_sizes if need <= 0.9e9 * size)
    return f"{need / 1e9:,.1f} GB: {fits or 'none'}"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
