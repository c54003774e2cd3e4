"""Finds the parts of a model: vision tower, projector, language model; for any family.

Parts are found by the attribute names that families share, never by a family's own name.

    find_model_parts(model).projector  # ("model.visual.merger",)
"""

import re
from typing import Any, Literal, NamedTuple

from torch import nn

ParamKind = Literal["attention", "mlp", "projector", "vision", "embedding", "other"]

VISION_TOWER_NAMES = ("vision_tower", "visual", "vision_model", "vision_encoder", "image_tower")
PROJECTOR_NAMES = (
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
_ATTENTION_PATTERN = re.compile(r"(^|\.)(\w*attn|\w*attention)\.|\.(q|k|v|o|qkv|out)_proj\b")
_MLP_PATTERN = re.compile(
    r"\.(mlp|feed_forward|experts|block_sparse_moe)\b|\.(gate|up|down)_proj\b"
)


class ModelParts(NamedTuple):
    """Module paths of the parts; all empty but `language` for a model without vision."""

    vision: tuple[str, ...]
    projector: tuple[str, ...]
    """May lie inside `vision` (Qwen-VL), and is then no part of it."""
    language: str
    """Path of the decoder, without its head; `""` when the model is nothing else."""


def find_model_parts(model: Any) -> ModelParts:
    """Return the parts of a transformers model that is not wrapped yet."""
    names = dict(model.named_modules())
    vision = _outermost_paths(n for n in names if n.rpartition(".")[2] in VISION_TOWER_NAMES)
    projector_paths = _outermost_paths(n for n in names if n.rpartition(".")[2] in PROJECTOR_NAMES)
    decoder = model.get_decoder()
    language = next(name for name, module in names.items() if module is decoder)
    if not vision:
        return ModelParts((), (), language)
    # A list of modules is no module that runs: its members are.
    projector = [
        f"{name}.{i}" if is_list else name
        for name in projector_paths
        for is_list in [isinstance(names[name], nn.ModuleList)]
        for i in range(len(names[name]) if is_list else 1)
    ]
    return ModelParts(tuple(vision), tuple(projector), language)


def is_inside(name: str, paths: tuple[str, ...]) -> bool:
    """Return whether a module or tensor is one of some modules, or lies within one.

    Args:
        name: Its dotted name.
        paths: Names of modules; `""` is the complete model.
    """
    return any(name == path or name.startswith(f"{path}.") or not path for path in paths)


def param_kind(name: str, parts: ModelParts) -> ParamKind:
    """Return the part that a tensor belongs to.

    Args:
        name: Its name in the model, not in a wrapper.
        parts: The parts of the model.
    """
    if is_inside(name, parts.projector):
        return "projector"
    if is_inside(name, parts.vision):
        return "vision"
    if _ATTENTION_PATTERN.search(name):
        return "attention"
    if _MLP_PATTERN.search(name):
        return "mlp"
    return "embedding" if re.search(r"embed|lm_head|\bwte\b", name) else "other"


def unused_vision_paths(model: Any, parts: ModelParts) -> tuple[str, ...]:
    """Return module paths in the vision tower that do not affect what the language model gets.

    Those are the pooling head, and in models that read the tower at `vision_feature_layer` the
    layers after that one and the last norm.

    Args:
        model: A transformers model.
        parts: Its parts.
    """
    unused_paths: list[str] = []
    for path in parts.vision:
        tower = model.get_submodule(path)
        modules_by_name = dict(tower.named_modules())
        unused_paths += [
            f"{path}.{name}" for name in modules_by_name if name.rpartition(".")[2] == "head"
        ]
        feature_layer = getattr(model.config, "vision_feature_layer", None)
        if feature_layer is None:
            continue
        unused_paths += [
            f"{path}.{name}" for name in modules_by_name if name.endswith("post_layernorm")
        ]
        stacks = (
            n
            for n, m in modules_by_name.items()
            if n.endswith("layers") and isinstance(m, nn.ModuleList)
        )
        for name in stacks:
            count = len(modules_by_name[name])
            feature_layers = [feature_layer] if isinstance(feature_layer, int) else feature_layer
            # 0 is what goes into the first layer, `count` (or -1) what comes out of the last.
            last_layer = max(index if index >= 0 else count + 1 + index for index in feature_layers)
            unused_paths += [f"{path}.{name}.{i}" for i in range(last_layer, count)]
    return tuple(unused_paths)


def _outermost_paths(names: Any) -> list[str]:
    """Return the paths that lie within no other of the paths."""
    outermost: list[str] = []
    for name in sorted(names, key=lambda n: n.count(".")):
        if not is_inside(name, tuple(outermost)):
            outermost.append(name)
    return outermost
