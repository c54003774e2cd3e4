"""From a recipe to a model that trains what the recipe says and nothing else.

LoRA stands on the linear layers of the language model: never its head or embeddings, and the
vision tower and projector only when asked. `full` trains the language model whole. Whatever is
trained is float32, whatever is frozen keeps its precision and stays as in evaluation. Knows
nothing of data, loss or loop.

    model = adapt(open_model(recipe).model, recipe)
    print(sum(one.count for one in trainable(model)))
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from gen_msa.errors import MissingExtra, UserError, did_you_mean
from gen_msa.finetuning.parts import Kind, Parts, inside, kind_of, linear_layers, parts_of
from gen_msa.finetuning.recipe import Recipe


class Trained(NamedTuple):
    """One tensor that is trained."""

    kind: Kind
    name: str
    """As in the wrapped model."""
    shape: tuple[int, ...]
    count: int
    """Numbers in it."""


def adapt(model: Any, recipe: Recipe) -> Any:
    """`model` (changed in place) ready to train: wrapped by peft for LoRA, itself for `full`.

    `full` trains the decoder with its embeddings and head; the projector if `train_projector`, the
    vision tower if `train_vision`. Raises `UserError` when a named part does not exist.
    """
    parts = parts_of(model)
    for wanted, found, name in (
        (recipe.train_vision, parts.vision, "train_vision"),
        (recipe.train_projector, parts.projector, "train_projector"),
    ):
        if wanted and not found:
            raise UserError(f"{name}: this model has no such part", mend=f"set {name}: false")
    model.requires_grad_(False)
    adapted = _full(model, recipe, parts) if recipe.finetuning_type == "full" else None
    adapted = _lora(model, recipe, parts) if adapted is None else adapted
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    for module in _still(model, recipe, parts):
        _hold(module)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    adapted.train()
    return adapted


def trainable(model: Any) -> list[Trained]:
    """Every tensor that is trained, in the order of the model."""
    parts = parts_of(_inner(model))
    return [
        Trained(kind_of(_plain(name), parts), name, tuple(weight.shape), weight.numel())
        for name, weight in model.named_parameters()
        if weight.requires_grad
    ]


def parameter_groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups for an optimiser: the projector at its own rate; no decay of vectors (norms, biases).

    Each has `params`, `lr`, `weight_decay` and `name`; empty ones are left out.
    """
    named = dict(model.named_parameters())
    groups: dict[str, dict[str, Any]] = {}
    for one in trainable(model):
        projector = one.kind == "projector" and recipe.projector_learning_rate is not None
        rate = recipe.projector_learning_rate if projector else recipe.learning_rate
        decay = recipe.weight_decay if len(one.shape) > 1 else 0.0
        name = ("projector" if projector else "model") + ("" if decay else ", no decay")
        empty = {"params": [], "lr": rate, "weight_decay": decay, "name": name}
        groups.setdefault(name, empty)["params"].append(named[one.name])
    return list(groups.values())


def save_adapter(model: Any, folder: Path) -> None:
    """Writes what was trained: peft's adapter files, or the whole model's safetensors for `full`.

    The projector, if trained, is in the adapter file. Nothing else is written, and no card.
    """
    if hasattr(model, "peft_config"):
        # "auto" would ask the hub whether the vocabulary grew; it never does here.
        model.save_pretrained(folder, save_embedding_layers=False)
        (Path(folder) / "README.md").unlink(missing_ok=True)
    else:
        model.save_pretrained(folder)


@contextmanager
def precision(model: Any, recipe: Recipe) -> Iterator[None]:
    """Around every forward: matrix products in bfloat16 if the recipe or frozen weights say so.

    LoRA weights stay in float32; autocast rounds them, so their inputs need no widening, which is
    what makes it fast. Without bfloat16 it does nothing.
    """
    if not (recipe.bf16 or any(p.dtype == torch.bfloat16 for p in model.parameters())):
        yield
        return
    device = next(model.parameters()).device.type
    with torch.autocast(device, dtype=torch.bfloat16), _narrow(model):
        yield


@contextmanager
def _narrow(model: Any) -> Iterator[None]:
    if not hasattr(model, "peft_config"):
        yield
        return
    from peft.helpers import disable_input_dtype_casting

    with disable_input_dtype_casting(model):
        yield


def _full(model: Any, recipe: Recipe, parts: Parts) -> Any:
    for name, weight in model.named_parameters():
        if inside(name, parts.projector):
            weight.requires_grad_(recipe.train_projector)
        elif inside(name, parts.vision):
            weight.requires_grad_(recipe.train_vision)
        else:
            weight.requires_grad_(True)
    return model


def _lora(model: Any, recipe: Recipe, parts: Parts) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtra("peft", "train") from None
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,  # type: ignore[arg-type]  # peft itself takes fractions
        lora_dropout=recipe.lora_dropout,
        target_modules=_targets(model, recipe, parts),
        modules_to_save=list(parts.projector) if recipe.train_projector else None,
        use_rslora=recipe.use_rslora,
        use_dora=recipe.use_dora,
        task_type="CAUSAL_LM",
    )
    # Written into the adapter: what a user types, not the folder it was found in.
    model.name_or_path = recipe.model_name_or_path
    return get_peft_model(model, config)


def _targets(model: Any, recipe: Recipe, parts: Parts) -> str:
    """A pattern over whole paths, so that a tower's layers of the same name are left alone."""
    language, vision = linear_layers(model, parts)
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
            raise UserError("train_vision: the vision tower has no linear layer for LoRA")
        chosen += list(vision)
    return _pattern(chosen)


def _pattern(paths: list[str]) -> str:
    r"""One short regular expression for many paths: numbers become `\d+`."""
    shapes = {re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path) for path in paths}
    return "|".join(re.escape(shape).replace(r"\#", r"\d+") for shape in sorted(shapes))


def _still(model: Any, recipe: Recipe, parts: Parts) -> Iterator[nn.Module]:
    """Modules that `train()` must not change: frozen parts, and every BatchNorm.

    The running means of a BatchNorm are no part of an adapter, and a batch of a few posts is too
    small to make them.
    """
    for name, module in model.named_modules():
        if inside(name, parts.projector):
            frozen = not recipe.train_projector
        else:
            frozen = inside(name, parts.vision) and not recipe.train_vision
        if frozen or isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield module


def _hold(module: Any) -> None:
    """Keeps one module as in evaluation; what lies within it may still train."""

    def train(mode: bool = True) -> Any:
        for child in module.children():
            child.train(mode)
        return module

    module.training = False
    module.train = train


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _plain(name: str) -> str:
    """A tensor's name without what peft wraps around it."""
    name = name.removeprefix("base_model.model.")
    return re.sub(r"\.(base_layer|modules_to_save\.default|original_module)\b", "", name)
