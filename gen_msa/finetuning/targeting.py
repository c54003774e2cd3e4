"""Which linear layers LoRA stands on, written as one pattern that matches no other.

Knows nothing of peft: the pattern is what its `target_modules` takes.

    targets(model, recipe, parts_of(model))
"""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from gen_msa.errors import UserError, did_you_mean
from gen_msa.finetuning.parts import Parts, inside, unused
from gen_msa.finetuning.recipe import Recipe


def targets(model: Any, recipe: Recipe, parts: Parts) -> str:
    """A pattern over whole paths, so that a tower's layers of the same name are left alone."""
    language, vision = linear_layers(model, parts)
    if not language:
        raise UserError(
            f"{type(model).__name__}: the language model has no linear layers for LoRA",
            mend="set finetuning_type: full",
        )
    chosen = list(language)
    if recipe.lora_target != "all":
        known = {name.rpartition(".")[2] for name in language}
        for name in recipe.lora_target:
            if name not in known:
                raise UserError(
                    f"lora_target: no linear layer {name!r}", mend=did_you_mean(name, known)
                )
        chosen = [name for name in language if name.rpartition(".")[2] in recipe.lora_target]
    if recipe.train_vision:
        if not vision:
            raise UserError(
                "train_vision: the vision tower has no linear layer for LoRA",
                mend="set train_vision: false, or finetuning_type: full",
            )
        chosen += list(vision)
    return _pattern(chosen, (name for name, _ in model.named_modules()))


def _pattern(paths: list[str], known: Iterable[str]) -> str:
    r"""A regular expression for `paths` and no other of `known`; `\d+` for numbers if it can."""
    shapes = {re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path) for path in paths}
    short = "|".join(re.escape(shape).replace(r"\#", r"\d+") for shape in sorted(shapes))
    if {name for name in known if re.fullmatch(short, name)} == set(paths):
        return short
    return "|".join(re.escape(path) for path in paths)


def linear_layers(model: Any, parts: Parts) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Linear layers by path: those of the language model, and those of the vision tower.

    The head (it lies outside the decoder), the projector and what is never used are in neither.
    """
    language: dict[str, nn.Module] = {}
    vision: dict[str, nn.Module] = {}
    left_out = (*parts.projector, *unused(model, parts))
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or inside(name, left_out):
            continue
        if inside(name, parts.vision):
            vision[name] = module
        elif inside(name, (parts.language,)):
            language[name] = module
    return language, vision
