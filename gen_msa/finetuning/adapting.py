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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning.opening import use_cache
from gen_msa.finetuning.parts import Kind, Parts, inside, kind_of, parts_of, unused
from gen_msa.finetuning.recipe import Recipe
from gen_msa.finetuning.targeting import targets


@dataclass(frozen=True)
class Trained:
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
    vision tower if `train_vision`; what lies beside them (an `image_newline`) never. Raises
    `UserError` when a named part does not exist.
    """
    parts = parts_of(model)
    for wanted, found, name in (
        (recipe.train_vision, parts.vision, "train_vision"),
        (recipe.train_projector, parts.projector, "train_projector"),
    ):
        if wanted and not found:
            raise UserError(f"{name}: this model has no such part", mend=f"set {name}: false")
    change = _full if recipe.finetuning_type == "full" else _lora
    adapted = change(model, recipe, parts)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    for module in _still(model, recipe, parts):
        _hold(module)
    if recipe.gradient_checkpointing:
        tuners = _tuners(adapted)
        again = {"use_reentrant": False, "context_fn": lambda: _recomputed(tuners)}
        model.gradient_checkpointing_enable(again)
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
        projector = one.kind == "projector"
        own = recipe.projector_learning_rate if projector else None
        rate = recipe.learning_rate if own is None else own
        decay = recipe.weight_decay if len(one.shape) > 1 else 0.0
        name = ("projector" if projector else "model") + ("" if decay else ", no decay")
        empty: dict[str, Any] = {"params": [], "lr": rate, "weight_decay": decay, "name": name}
        groups.setdefault(name, empty)["params"].append(named[one.name])
    return list(groups.values())


def save_adapter(
    model: Any, folder: Path, dtype: str = "float32", state: dict[str, Any] | None = None
) -> None:
    """Writes what was trained: peft's adapter files, or the whole model's safetensors for `full`.

    The projector, if trained, is in the adapter file, which is written in `dtype`. Nothing else is
    written, and no card. `state`: whole tensors, if those of the model are split.
    """
    if hasattr(model, "peft_config"):
        # "auto" would ask the hub whether the vocabulary grew; it never does here.
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)
        (Path(folder) / "README.md").unlink(missing_ok=True)
        if dtype != "float32":
            _rounded(Path(folder) / "adapter_model.safetensors", getattr(torch, dtype))
    else:
        use_cache(model, True)
        model.save_pretrained(folder, state_dict=state)
        use_cache(model, False)


def _rounded(path: Path, dtype: torch.dtype) -> None:
    """The same tensors in a shorter form."""
    from safetensors.torch import load_file, save_file

    tensors = {name: t.to(dtype).contiguous() for name, t in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


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
    with torch.autocast(device, dtype=torch.bfloat16), _narrow(_tuners(model)):
        yield


def _tuners(model: Any) -> list[Any]:
    """The layers that peft put in."""
    if not hasattr(model, "peft_config"):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def _narrow(tuners: list[Any]) -> Iterator[None]:
    """As `peft.helpers.disable_input_dtype_casting`, without walking the model each time."""
    before = [layer.cast_input_dtype_enabled for layer in tuners]
    for layer in tuners:
        layer.cast_input_dtype_enabled = False
    try:
        yield
    finally:
        for layer, was in zip(tuners, before, strict=True):
            layer.cast_input_dtype_enabled = was


def _recomputed(tuners: list[Any]) -> tuple[AbstractContextManager[None], ...]:
    """Contexts of a checkpointed layer: recomputed in backward as it was computed in forward.

    Backward runs outside `precision`; torch itself brings autocast back, but not peft's casting.
    """
    narrow = any(not layer.cast_input_dtype_enabled for layer in tuners[:1])
    return nullcontext(), _narrow(tuners) if narrow else nullcontext()


def _full(model: Any, recipe: Recipe, parts: Parts) -> Any:
    idle, head = unused(model, parts), model.get_output_embeddings()
    for name, weight in model.named_parameters():
        if inside(name, parts.projector):
            trains = recipe.train_projector
        elif inside(name, parts.vision):
            trains = recipe.train_vision and not inside(name, idle)
        else:
            trains = inside(name, (parts.language,))
        weight.requires_grad_(trains)
    if head is not None:
        head.requires_grad_(True)
    return model


def _lora(model: Any, recipe: Recipe, parts: Parts) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtra("peft", "train") from None
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,  # a fraction will do, whatever peft's hint says
        lora_dropout=recipe.lora_dropout,
        target_modules=targets(model, recipe, parts),
        modules_to_save=list(parts.projector) if recipe.train_projector else None,
        use_rslora=recipe.use_rslora,
        use_dora=recipe.use_dora,
        task_type="CAUSAL_LM",
    )
    # Written into the adapter: what a user types, not the folder it was found in.
    model.name_or_path = recipe.model_name_or_path
    return get_peft_model(model, config)


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
