"""Where the parts of a model lie: vision tower, projector, language model; any family.

Parts are found by the attribute names that families share, never by a family's own name. Knows
nothing of recipes or adapters.

    parts_of(model).projector  # ("model.visual.merger", "model.visual.deepstack_merger_list.0")
"""

import re
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

Kind = Literal["attention", "mlp", "projector", "vision", "embedding", "other"]

TOWERS = ("vision_tower", "visual", "vision_model", "vision_encoder", "image_tower")
PROJECTORS = (
    "multi_modal_projector",
    "mm_projector",
    "connector",
    "merger",
    # Qwen3-VL has a merger for each deep layer as well; they are the projector as much as the last.
    "deepstack_merger_list",
    "mlp1",
    "aligner",
    "embed_vision",
)
_ATTENTION = re.compile(r"(^|\.)(\w*attn|\w*attention)\.|\.(q|k|v|o|qkv|out)_proj\b")
_MLP = re.compile(r"\.(mlp|feed_forward|experts|block_sparse_moe)\b|\.(gate|up|down)_proj\b")


class Parts(NamedTuple):
    """Module paths; all empty but `language` for a model without eyes."""

    vision: tuple[str, ...]
    projector: tuple[str, ...]
    """May lie inside `vision` (Qwen-VL), and is then no part of it."""
    language: str
    """Path of the decoder, without its head; `""` when the model is nothing else."""


def parts_of(model: Any) -> Parts:
    """The parts of a transformers model that is not wrapped yet."""
    names = dict(model.named_modules())
    vision = _outermost(n for n in names if n.rpartition(".")[2] in TOWERS)
    found = _outermost(n for n in names if n.rpartition(".")[2] in PROJECTORS)
    decoder = model.get_decoder()
    language = next(name for name, module in names.items() if module is decoder)
    if not vision:
        return Parts((), (), language)
    # A list of modules is no module that runs: its members are.
    projector = [
        f"{name}.{i}" if listed else name
        for name in found
        for listed in [isinstance(names[name], nn.ModuleList)]
        for i in range(len(names[name]) if listed else 1)
    ]
    return Parts(tuple(vision), tuple(projector), language)


def inside(name: str, paths: tuple[str, ...]) -> bool:
    """Whether module or tensor `name` is one of `paths` or lies within one."""
    return any(name == path or name.startswith(f"{path}.") or not path for path in paths)


def kind_of(name: str, parts: Parts) -> Kind:
    """What the tensor `name` of the model (not of a wrapper) belongs to."""
    if inside(name, parts.projector):
        return "projector"
    if inside(name, parts.vision):
        return "vision"
    if _ATTENTION.search(name):
        return "attention"
    if _MLP.search(name):
        return "mlp"
    return "embedding" if re.search(r"embed|lm_head|\bwte\b", name) else "other"


def linear_layers(model: Any, parts: Parts) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Linear layers by path: those of the language model, and those of the vision tower.

    The head, the projector, and layers that attention reads without calling are in neither.
    """
    language: dict[str, nn.Module] = {}
    vision: dict[str, nn.Module] = {}
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        odd = isinstance(module, torch.nn.modules.linear.NonDynamicallyQuantizableLinear)
        if not isinstance(module, nn.Linear) or odd or module is head:
            continue
        if inside(name, parts.projector):
            continue
        if inside(name, parts.vision):
            vision[name] = module
        elif inside(name, (parts.language,)):
            language[name] = module
    return language, vision


def _outermost(names: Any) -> list[str]:
    """Paths that lie within no other of the paths."""
    kept: list[str] = []
    for name in sorted(names, key=lambda n: n.count(".")):
        if not inside(name, tuple(kept)):
            kept.append(name)
    return kept
