"""Load the base model of a recipe, and wrap it so that only what the recipe names is trained.

LoRA is added to the linear layers of the language model: never to its head or embeddings, and to
vision encoder and projector only on request. `full` trains the complete language model. Trained
weights are float32; frozen ones keep their precision and stay in evaluation mode.

    model = wrap_with_peft(load_model(recipe).model, recipe)
    sum(param.numel for param in trainable_params(model))
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from gen_msa.errors import MissingExtra, UserError, did_you_mean
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.training.model_parts import (
    PROJECTOR_NAMES,
    VISION_TOWER_NAMES,
    ModelParts,
    ParamKind,
    find_model_parts,
    is_inside,
    param_kind,
    unused_vision_paths,
)

# Loads the base model of a recipe from disk, at its precision, quantized if requested.


def quantization_options(recipe: FinetuneRecipe, device: str) -> dict[str, Any]:
    """Return the `from_pretrained` options that quantize while loading.

    The method is QLoRA (Dettmers et al., NeurIPS 2023).

    Args:
        recipe: The kind of quantization and the compute precision.
        device: Where the weights are loaded.

    Raises:
        MissingExtra: If bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401  # transformers' own message would not name our extra
    except ImportError:
        raise MissingExtra("bitsandbytes", "quant") from None
    from transformers import BitsAndBytesConfig

    use_bf16 = recipe.bf16 or recipe.dtype == "bfloat16"
    # Each is a pattern for a module's full path, from its start.
    skip_patterns = [
        "lm_head",
        *(rf"(?:.+\.)?{name}" for name in (*VISION_TOWER_NAMES, *PROJECTOR_NAMES)),
    ]
    config = BitsAndBytesConfig(
        load_in_8bit=recipe.quantization == "int8",
        load_in_4bit=recipe.quantization == "nf4",
        llm_int8_skip_modules=skip_patterns,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if use_bf16 else torch.float32,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def fix_quantized_modules(model: Any) -> None:
    """Prevent NF4 layers from repacking their weights on CPUs with AVX512-BF16.

    bitsandbytes repacks them in the first forward pass in evaluation mode without gradients (a
    validation, say), and backward then reads the packed weights as if they were not: the loss looks
    normal while the gradients of most LoRA weights are exactly zero.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


class LoadedModel(NamedTuple):
    """A model to be adapted, on its device, and what reading it again needs."""

    model: Any
    processor: Any
    """The tokenizer for a text model."""
    folder: Path
    base_hash: str
    """16 hex digits over weights, settings and vocabulary (`weights.folder_revision`)."""


def load_model(recipe: FinetuneRecipe, *, keep_on_cpu: bool = False) -> LoadedModel:
    """Load the model of `model_name_or_path`, unwrapped, with `use_cache` off.

    Args:
        recipe: Model, precision, device, attention and quantization.
        keep_on_cpu: Leave it in CPU memory, to be sharded over GPUs.

    Returns:
        The model on the recipe's device, or on the CPU, with its processor, folder and hash.

    Raises:
        UserError: If it cannot be found or loaded.
        MissingExtra: If a package is missing.
    """
    from gen_msa.backends.hf import devices, weights

    if recipe.dtype == "float16":
        raise UserError(
            "dtype: float16 loses small gradients, and there is no loss scaling",
            hint="use dtype: bfloat16, or float32",
        )
    folder = _find_folder(recipe.model_name_or_path)
    device = devices.resolve_device(recipe.device)
    load_options: dict[str, Any] = {"attn_implementation": recipe.attn_implementation}
    if recipe.quantization != "none":
        load_options |= quantization_options(recipe, device)
    model, processor = weights.load_pretrained(
        folder, devices.resolve_dtype(recipe.dtype, device), **load_options
    )
    if recipe.quantization == "none":
        model = model if keep_on_cpu else model.to(device)
    else:
        fix_quantized_modules(model)
    set_use_cache(model, False)
    return LoadedModel(model, processor, folder, weights.folder_revision(folder))


def set_use_cache(model: Any, enabled: bool) -> None:
    """Set whether a forward pass returns keys and values: not in training, but in a saved model.

    Args:
        model: The model, whose configs are changed.
        enabled: The value.
    """
    for config in (model.config, model.config.get_text_config()):
        config.use_cache = enabled


def _find_folder(name: str) -> Path:
    from gen_msa.backends.hf import weights

    if name == "builtin" and not Path(name).is_dir():
        from gen_msa import builtin

        return Path(builtin.model_folder())
    folder, adapter = weights.resolve_target(name)
    if adapter is not None:
        raise UserError(
            f"{name}: an adapter is trained on a plain model, not on another adapter",
            hint="merge it first: gen-msa export ADAPTER --merge",
        )
    return folder


def lora_targets(model: Any, recipe: FinetuneRecipe, parts: ModelParts) -> str:
    """Return a regular expression for the paths of the layers that get LoRA, and of no others.

    Args:
        model: The model before it is wrapped.
        recipe: The layer names and whether the vision encoder is trained.
        parts: Its parts.

    Raises:
        UserError: If there is no such layer.
    """
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
                "train_vision: the vision encoder has no linear layer for LoRA",
                hint="set train_vision: false, or finetuning_type: full",
            )
        selected += list(vision)
    return _module_pattern(selected, (name for name, _ in model.named_modules()))


def _module_pattern(paths: list[str], all_paths: Iterable[str]) -> str:
    r"""Return a pattern for `paths` and no other of `all_paths`; `\d+` for numbers if possible."""
    templates = {re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path) for path in paths}
    pattern = "|".join(re.escape(template).replace(r"\#", r"\d+") for template in sorted(templates))
    if {name for name in all_paths if re.fullmatch(pattern, name)} == set(paths):
        return pattern
    return "|".join(re.escape(path) for path in paths)


def linear_layers(
    model: Any, parts: ModelParts
) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Return the linear layers by path: those of the language model, those of the vision encoder.

    The head (outside the decoder), the projector and unused layers are in neither.

    Args:
        model: The model before it is wrapped.
        parts: Its parts.
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


@dataclass(frozen=True)
class TrainableParam:
    """One trained tensor."""

    kind: ParamKind
    name: str
    """As in the wrapped model."""
    shape: tuple[int, ...]
    numel: int
    """Number of elements."""


def wrap_with_peft(model: Any, recipe: FinetuneRecipe) -> Any:
    """Return `model` (changed in place) ready to train.

    LoRA wraps it with peft. `full` trains the decoder with its embeddings and head, the projector
    if `train_projector`, the vision encoder if `train_vision`; modules beside them (an
    `image_newline`) never.

    Args:
        model: The loaded model.
        recipe: What to train.

    Raises:
        UserError: If a requested part does not exist.
    """
    parts = find_model_parts(model)
    for requested, modules, name in (
        (recipe.train_vision, parts.vision, "train_vision"),
        (recipe.train_projector, parts.projector, "train_projector"),
    ):
        if requested and not modules:
            raise UserError(f"{name}: this model has no such part", hint=f"set {name}: false")
    wrap = _train_full if recipe.finetuning_type == "full" else _add_lora
    wrapped = wrap(model, recipe, parts)
    for weight in wrapped.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    for module in _eval_only_modules(model, recipe, parts):
        _keep_in_eval_mode(module)
    if recipe.gradient_checkpointing:
        peft_layers = _peft_layers(wrapped)
        checkpointing_options = {
            "use_reentrant": False,
            "context_fn": lambda: _recompute_contexts(peft_layers),
        }
        # Older versions of transformers have only the second name, which newer ones warn of.
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)(checkpointing_options)
    wrapped.train()
    return wrapped


def trainable_params(model: Any) -> list[TrainableParam]:
    """Return every trained tensor, in the order of the model."""
    parts = find_model_parts(_base_model(model))
    return [
        TrainableParam(
            param_kind(_strip_peft_prefixes(name), parts), name, tuple(weight.shape), weight.numel()
        )
        for name, weight in model.named_parameters()
        if weight.requires_grad
    ]


def parameter_groups(model: Any, recipe: FinetuneRecipe) -> list[dict[str, Any]]:
    """Return optimiser groups: the projector at its own rate; no decay of vectors (norms, biases).

    Each has `params`, `lr`, `weight_decay` and `name`; empty ones are left out.

    Args:
        model: The wrapped model.
        recipe: Learning rates and weight decay.
    """
    params_by_name = dict(model.named_parameters())
    groups: dict[str, dict[str, Any]] = {}
    for param in trainable_params(model):
        projector = param.kind == "projector"
        projector_rate = recipe.projector_learning_rate if projector else None
        rate = recipe.learning_rate if projector_rate is None else projector_rate
        decay = recipe.weight_decay if len(param.shape) > 1 else 0.0
        name = ("projector" if projector else "model") + ("" if decay else ", no decay")
        new_group: dict[str, Any] = {"params": [], "lr": rate, "weight_decay": decay, "name": name}
        groups.setdefault(name, new_group)["params"].append(params_by_name[param.name])
    return list(groups.values())


def write_adapter_weights(
    model: Any, folder: Path, dtype: str = "float32", state: dict[str, Any] | None = None
) -> None:
    """Write the trained weights: peft's adapter files, or the complete model for `full`.

    A trained projector is part of the adapter file. Nothing else is written, and no card.

    Args:
        model: The wrapped model.
        folder: An existing folder.
        dtype: Dtype of the adapter file.
        state: Gathered tensors, if those of the model are sharded.
    """
    if hasattr(model, "peft_config"):
        # "auto" would ask the hub whether the vocabulary grew, which it never does here.
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)
        (Path(folder) / "README.md").unlink(missing_ok=True)
        if dtype != "float32":
            _cast_adapter_file(Path(folder) / "adapter_model.safetensors", getattr(torch, dtype))
    else:
        set_use_cache(model, True)
        model.save_pretrained(folder, state_dict=state)
        set_use_cache(model, False)


def _cast_adapter_file(path: Path, dtype: torch.dtype) -> None:
    """Rewrite the file with its tensors in another dtype."""
    from safetensors.torch import load_file, save_file

    tensors = {name: t.to(dtype).contiguous() for name, t in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


@contextmanager
def mixed_precision(model: Any, recipe: FinetuneRecipe) -> Iterator[None]:
    """Run forward passes with matrix products in bfloat16 if recipe or frozen weights say so.

    LoRA weights stay in float32; autocast rounds them, so that their inputs need no upcast, which
    is what makes it fast. Without bfloat16 it does nothing.

    Args:
        model: The wrapped model.
        recipe: Whether `bf16` is set.

    Yields:
        None; the precision holds inside the block.
    """
    if not (recipe.bf16 or any(p.dtype == torch.bfloat16 for p in model.parameters())):
        yield
        return
    device = next(model.parameters()).device.type
    with torch.autocast(device, dtype=torch.bfloat16), _disable_input_casting(_peft_layers(model)):
        yield


def _peft_layers(model: Any) -> list[Any]:
    """Return the layers that peft inserted."""
    if not hasattr(model, "peft_config"):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def _disable_input_casting(peft_layers: list[Any]) -> Iterator[None]:
    """Do the same as `peft.helpers.disable_input_dtype_casting`, without a walk of the model."""
    previous = [layer.cast_input_dtype_enabled for layer in peft_layers]
    for layer in peft_layers:
        layer.cast_input_dtype_enabled = False
    try:
        yield
    finally:
        for layer, value in zip(peft_layers, previous, strict=True):
            layer.cast_input_dtype_enabled = value


def _recompute_contexts(peft_layers: list[Any]) -> tuple[AbstractContextManager[None], ...]:
    """Return contexts under which a checkpointed layer is recomputed as it was computed.

    Backward runs outside `mixed_precision`; torch restores autocast itself, but not peft's casting.
    """
    casting_disabled = any(not layer.cast_input_dtype_enabled for layer in peft_layers[:1])
    return nullcontext(), _disable_input_casting(peft_layers) if casting_disabled else nullcontext()


def _train_full(model: Any, recipe: FinetuneRecipe, parts: ModelParts) -> Any:
    unused_paths, head = unused_vision_paths(model, parts), model.get_output_embeddings()
    for name, weight in model.named_parameters():
        if is_inside(name, parts.projector):
            is_trained = recipe.train_projector
        elif is_inside(name, parts.vision):
            is_trained = recipe.train_vision and not is_inside(name, unused_paths)
        else:
            is_trained = is_inside(name, (parts.language,))
        weight.requires_grad_(is_trained)
    if head is not None:
        head.requires_grad_(True)
    return model


def _add_lora(model: Any, recipe: FinetuneRecipe, parts: ModelParts) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtra("peft", "train") from None
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,  # may be a fraction, despite peft's annotation
        lora_dropout=recipe.lora_dropout,
        target_modules=lora_targets(model, recipe, parts),
        modules_to_save=list(parts.projector) if recipe.train_projector else None,
        use_rslora=recipe.use_rslora,
        use_dora=recipe.use_dora,
        task_type="CAUSAL_LM",
    )
    # Stored in the adapter: the name that a user types, not the resolved folder.
    model.name_or_path = recipe.model_name_or_path
    return get_peft_model(model, config)


def _eval_only_modules(
    model: Any, recipe: FinetuneRecipe, parts: ModelParts
) -> Iterator[nn.Module]:
    """Yield modules that `train()` must not change: frozen parts, and every BatchNorm.

    The running statistics of a BatchNorm are no part of an adapter, and a batch of a few posts is
    too small to estimate them.
    """
    for name, module in model.named_modules():
        if is_inside(name, parts.projector):
            frozen = not recipe.train_projector
        else:
            frozen = is_inside(name, parts.vision) and not recipe.train_vision
        if frozen or isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield module


def _keep_in_eval_mode(module: Any) -> None:
    """Keep one module in evaluation mode; its children may still train."""

    def train(mode: bool = True) -> Any:
        for child in module.children():
            child.train(mode)
        return module

    module.training = False
    module.train = train


def _base_model(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _strip_peft_prefixes(name: str) -> str:
    """Return a tensor's name without the parts that peft adds."""
    name = name.removeprefix("base_model.model.")
    return re.sub(r"\.(base_layer|modules_to_save\.default|original_module)\b", "", name)
