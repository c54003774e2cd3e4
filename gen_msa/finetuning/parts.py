"""Where the parts of a model lie: vision tower, projector, language model; any family.

Parts are found by the attribute names that families share, never by a family's own name. Knows
nothing of recipes or adapters.

    parts_of(model).projector  # ("model.visual.merger", "model.visual.deepstack_merger_list.0")
"""

import re
from typing import Any, Literal, NamedTuple

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


def unused(model: Any, parts: Parts) -> tuple[str, ...]:
    """Paths in the vision tower that have no say in what the language model is shown.

    The pooling head; and in models that read the tower at `vision_feature_layer`, the layers after
    that one and the last norm.
    """
    found: list[str] = []
    for path in parts.vision:
        tower = model.get_submodule(path)
        named = dict(tower.named_modules())
        found += [f"{path}.{name}" for name in named if name.rpartition(".")[2] == "head"]
        read_at = getattr(model.config, "vision_feature_layer", None)
        if read_at is None:
            continue
        found += [f"{path}.{name}" for name in named if name.endswith("post_layernorm")]
        stacks = (
            n for n, m in named.items() if n.endswith("layers") and isinstance(m, nn.ModuleList)
        )
        for name in stacks:
            count = len(named[name])
            taken = [read_at] if isinstance(read_at, int) else read_at
            # 0 is what goes into the first layer, `count` (or -1) what comes out of the last.
            last = max(at if at >= 0 else count + 1 + at for at in taken)
            found += [f"{path}.{name}.{i}" for i in range(last, count)]
    return tuple(found)


def _outermost(names: Any) -> list[str]:
    """Paths that lie within no other of the paths."""
    kept: list[str] = []
    for name in sorted(names, key=lambda n: n.count(".")):
        if not inside(name, tuple(kept)):
            kept.append(name)
    return kept
