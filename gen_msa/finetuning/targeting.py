"""Which linear layers LoRA stands on, written as one pattern that matches no other.

Knows nothing of peft: the pattern is what its `target_modules` takes.

    targets(model, recipe, parts_of(model))
"""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from gen_msa.errors import UserError, did_you_mean
from gen_msa.finetuning.parts import ModelParts, is_inside, unused_vision_paths
from gen_msa.finetuning.recipe import FinetuneRecipe


def lora_targets(model: Any, recipe: FinetuneRecipe, parts: ModelParts) -> str:
    """A pattern over whole paths, so that a tower's layers of the same name are left alone."""
    language, vision = linear_layers(model, parts)
    if not language:
        raise UserError(
            f"{type(model).__name__}: the language model has no linear layers for LoRA",
            hint="set finetuning_type: full",
        )
    selected = list(language)
    if recipe.lora_target != "all":
        layer_names = {name.rpartition(".")[2] for name in language}
        for name in recipe.lora_target:
            if name not in layer_names:
                raise UserError(
                    f"lora_target: no linear layer {name!r}", hint=did_you_mean(name, layer_names)
                )
        selected = [name for name in language if name.rpartition(".")[2] in recipe.lora_target]
    if recipe.train_vision:
        if not vision:
            raise UserError(
                "train_vision: the vision tower has no linear layer for LoRA",
                hint="set train_vision: false, or finetuning_type: full",
            )
        selected += list(vision)
    return _module_pattern(selected, (name for name, _ in model.named_modules()))


def _module_pattern(paths: list[str], all_paths: Iterable[str]) -> str:
    r"""A regular expression for `paths` and no other of `known`; `\d+` for numbers if it can."""
    templates = {re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path) for path in paths}
    pattern = "|".join(re.escape(template).replace(r"\#", r"\d+") for template in sorted(templates))
    if {name for name in all_paths if re.fullmatch(pattern, name)} == set(paths):
        return pattern
    return "|".join(re.escape(path) for path in paths)


def linear_layers(model: Any, parts: ModelParts) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Linear layers by path: those of the language model, and those of the vision tower.

    The head (it lies outside the decoder), the projector and what is never used are in neither.
    """
    language: dict[str, nn.Module] = {}
    vision: dict[str, nn.Module] = {}
    excluded = (*parts.projector, *unused_vision_paths(model, parts))
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or is_inside(name, excluded):
            continue
        if is_inside(name, parts.vision):
            vision[name] = module
        elif is_inside(name, (parts.language,)):
            language[name] = module
    return language, vision
