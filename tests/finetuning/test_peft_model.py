"""Exactly what the recipe says is trained, in every family; every switch has its effect."""

import copy
import re

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning.peft_model import parameter_groups, trainable_params, wrap_with_peft
from tests.finetuning.tiny_peft import (
    backward,
    build_recipe,
    copy_tiny_model,
    model_inputs,
    tiny_peft_model,
    train,
)
from tests.fixtures.tiny_models import FAMILIES, VISION_FAMILIES, tiny_model

# Paths of the parts of each family, from its source, not from the code under test.
LANGUAGE_MODEL_PATHS = {
    "llama": "model",
    "qwen2": "model",
    "mistral": "model",
    "idefics3": "model.text_model",
}
VISION_TOWER_PATTERNS = {
    "idefics3": r"model\.vision_model\.",
    "qwen2_5_vl": r"model\.visual\.(?!merger)",
    "qwen3_vl": r"model\.visual\.(?!merger|deepstack_merger_list)",
}
PROJECTOR_PATTERNS = {
    "idefics3": r"model\.connector\.",
    "qwen2_5_vl": r"model\.visual\.merger\.",
    "qwen3_vl": r"model\.visual\.(merger|deepstack_merger_list)\.",
}
PEFT_NAME_PARTS = re.compile(
    r"^base_model\.model\.|\.(base_layer|modules_to_save\.default|lora_\w+\.default)"
)
TRAIN_VISION_AND_PROJECTOR = {"train_vision": True, "train_projector": True}


def is_language(family, name):
    root = LANGUAGE_MODEL_PATHS.get(family, "model.language_model")
    return re.match(rf"{root}.layers.\d+.(self_attn|mlp).\w+_proj.", name) is not None


def is_tower(family, name):
    return re.match(VISION_TOWER_PATTERNS.get(family, r"model\.vision_tower\."), name) is not None


def is_projector(family, name):
    return (
        re.match(PROJECTOR_PATTERNS.get(family, r"model\.multi_modal_projector\."), name)
        is not None
    )


def param_values(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def base_name(name):
    return PEFT_NAME_PARTS.sub("", name)


def changed_params(model, before):
    """Names, without peft prefixes, of tensors that training changed."""
    return {base_name(n) for n, p in model.named_parameters() if not torch.equal(p, before[n])}


@pytest.mark.parametrize(
    ("family", "switch"),
    [(f, "") for f in FAMILIES]
    + [(f, switch) for f in VISION_FAMILIES for switch in ("train_projector", "train_vision")],
)
def test_lora_trains_exactly_the_parts_in_the_recipe(family, switch):
    model, recipe = tiny_peft_model(family, **({switch: True} if switch else {}))
    before = param_values(model)
    train(model, recipe, model_inputs(family))
    changed_names = changed_params(model, before)
    language = {n for n in changed_names if is_language(family, n)}
    tower = {n for n in changed_names if is_tower(family, n)}
    projector = {n for n in changed_names if is_projector(family, n)}
    assert changed_names == language | tower | projector
    assert len(language) == 2 * 7
    assert bool(tower) == recipe.train_vision
    assert bool(projector) == recipe.train_projector
    assert not any("base_layer" in n or "original_module" in n for n, p in params_with_grad(model))


def params_with_grad(model):
    return [(n, p) for n, p in model.named_parameters() if p.grad is not None]


@pytest.mark.parametrize("family", FAMILIES)
def test_full_finetuning_trains_only_the_language_model(family):
    model, recipe = tiny_peft_model(family, finetuning_type="full")
    before = param_values(model)
    train(model, recipe, model_inputs(family))
    changed_names = changed_params(model, before)
    language = {
        n for n in before if n.startswith(LANGUAGE_MODEL_PATHS.get(family, "model.language_model"))
    }
    assert changed_names == {n for n in language | {"lm_head.weight"} if n in before}
    assert any("embed_tokens" in n for n in changed_names)


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_full_finetuning_of_all_parts_gives_every_param_a_gradient(family):
    model, recipe = tiny_peft_model(family, finetuning_type="full", **TRAIN_VISION_AND_PROJECTOR)
    backward(model, recipe, model_inputs(family))
    trained_params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in trained_params.items() if p.grad is None or not p.grad.any()] == []
    assert any(is_tower(family, n) for n in trained_params)
    assert any(is_projector(family, n) for n in trained_params)


def test_qwen3_vl_deep_mergers_belong_to_the_projector():
    tower_trained, _ = tiny_peft_model("qwen3_vl", train_vision=True)
    projector_trained, _ = tiny_peft_model("qwen3_vl", train_projector=True)
    assert not any("merger" in param.name for param in trainable_params(tower_trained))
    deep_mergers = {
        param.name
        for param in trainable_params(projector_trained)
        if "deepstack_merger_list" in param.name
    }
    assert {re.search(r"list\.(\d)", name)[1] for name in deep_mergers} == {"0", "1"}
    assert {
        param.kind for param in trainable_params(projector_trained) if "merger" in param.name
    } == {"projector"}


def test_llava_tower_layers_after_the_feature_layer_are_not_trained():
    model = copy_tiny_model("llava")
    model.config.vision_feature_layer = -2
    with pytest.raises(UserError, match="no linear layer"):  # its only layer comes after
        wrap_with_peft(model, build_recipe(train_vision=True))
    layers = model.model.vision_tower.encoder.layers
    layers.append(copy.deepcopy(layers[0]))
    model = wrap_with_peft(model, build_recipe(train_vision=True))
    tower = {
        param.name.partition("layers.")[2][0]
        for param in trainable_params(model)
        if param.kind == "vision"
    }
    assert tower == {"0"}


def test_lora_target_limits_the_layers():
    model, _ = tiny_peft_model("qwen2", lora_target=("q_proj", "v_proj"))
    assert {param.name.split(".")[-4] for param in trainable_params(model)} == {"q_proj", "v_proj"}


def test_unknown_lora_target_suggests_the_nearest():
    with pytest.raises(UserError, match="'q_prj'") as caught:
        tiny_peft_model("qwen2", lora_target=("q_prj",))
    assert "did you mean 'q_proj'?" in caught.value.hint


@pytest.mark.parametrize("switch", ["train_vision", "train_projector"])
def test_training_a_missing_model_part_is_rejected(switch):
    with pytest.raises(UserError, match=switch):
        tiny_peft_model("llama", **{switch: True})


def test_rank_alpha_and_rslora_set_shape_and_scale():
    usual, _ = tiny_peft_model("llama", lora_rank=4, lora_alpha=8)
    stable, _ = tiny_peft_model("llama", lora_rank=4, lora_alpha=8, use_rslora=True)
    for model, scale in ((usual, 2.0), (stable, 4.0)):
        layer = model.get_base_model().model.layers[0].self_attn.q_proj
        assert layer.scaling["default"] == scale
        assert layer.lora_A["default"].weight.shape == (4, 32)


def test_dora_trains_a_magnitude_per_layer():
    lora, _ = tiny_peft_model("llama")
    dora, recipe = tiny_peft_model("llama", use_dora=True)
    assert not any("magnitude" in param.name for param in trainable_params(lora))
    before = param_values(dora)
    train(dora, recipe, model_inputs("llama"))
    moved = [n for n, p in dora.named_parameters() if not torch.equal(p, before[n])]
    assert sum("magnitude" in n for n in moved) == 14


def test_dropout_is_active_only_in_training_when_requested():
    batch = model_inputs("llama")
    loss_varies = {}
    for rate in (0.0, 0.5):
        model, recipe = tiny_peft_model("llama", lora_dropout=rate)
        train(model, recipe, batch)
        with torch.no_grad():
            loss_varies[rate] = not torch.equal(model(**batch).loss, model(**batch).loss)
    assert loss_varies == {0.0: False, 0.5: True}


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava"])
def test_frozen_parts_stay_in_eval_mode(family):
    model, _ = tiny_peft_model(family, train_projector=True)
    model.eval()
    model.train()
    modes = {base_name(n): m.training for n, m in model.named_modules() if n}
    parts = {n for n in modes if is_tower(family, n + ".")}
    assert parts
    assert not any(modes[n] for n in parts)
    assert all(m for n, m in modes.items() if is_projector(family, n + "."))
    assert all(m for n, m in modes.items() if "language_model" in n)


def test_batch_norm_statistics_are_never_updated():
    model = copy_tiny_model("llava")
    tower = model.model.vision_tower
    tower.pre_layrnorm = LayerNormBatchNorm(tower.pre_layrnorm)
    batch = model_inputs("llava")
    peft_model = wrap_with_peft(model, build_recipe(train_vision=True))
    peft_model.train()
    before = tower.pre_layrnorm.batch_norm.running_mean.clone()
    peft_model(**batch)
    assert torch.equal(tower.pre_layrnorm.batch_norm.running_mean, before)
    assert tower.pre_layrnorm.training


class LayerNormBatchNorm(torch.nn.Module):
    """A layer norm with a batch norm after it."""

    def __init__(self, layer_norm):
        super().__init__()
        self.layer_norm = layer_norm
        self.batch_norm = torch.nn.BatchNorm1d(16)

    def forward(self, x):
        return self.batch_norm(self.layer_norm(x).transpose(1, 2)).transpose(1, 2)


def test_trainable_params_match_torch_counts_by_kind():
    model, _ = tiny_peft_model("llava", **TRAIN_VISION_AND_PROJECTOR)
    params = trainable_params(model)
    assert sum(trained.numel for trained in params) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    assert {trained.kind for trained in params} == {"attention", "mlp", "vision", "projector"}
    full_model, _ = tiny_peft_model("llama", finetuning_type="full")
    assert {trained.kind for trained in trainable_params(full_model)} == {
        "attention",
        "mlp",
        "embedding",
        "other",
    }


def test_projector_has_its_own_learning_rate_and_vectors_no_decay():
    settings = {"learning_rate": 1e-4, "weight_decay": 0.1, "projector_learning_rate": 1e-3}
    model, recipe = tiny_peft_model("llava", train_projector=True, **settings)
    groups = {g["name"]: g for g in parameter_groups(model, recipe)}
    assert {n: (g["lr"], g["weight_decay"]) for n, g in groups.items()} == {
        "model": (1e-4, 0.1),
        "projector": (1e-3, 0.1),
        "projector, no decay": (1e-3, 0.0),
    }
    assert sum(len(g["params"]) for g in groups.values()) == len(trainable_params(model))
    one_rate, recipe = tiny_peft_model("llava", train_projector=True)
    groups = parameter_groups(one_rate, recipe)
    assert sorted(g["name"] for g in groups) == ["model, no decay", "projector, no decay"]
    assert len({g["lr"] for g in groups}) == 1


def test_shared_tiny_model_is_not_modified():
    assert not hasattr(tiny_model("llava").model, "peft_config")
