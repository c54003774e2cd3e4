"""What a recipe says is trained and nothing else is, in every family; every switch switches."""

import copy
import re

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning.adapting import adapt, parameter_groups, trainable
from tests.finetuning.adapted import adapted, backward, fresh, inputs, recipe, train
from tests.fixtures.tiny_models import FAMILIES, PICTURED, tiny_model

# Where the parts of each family lie, read off its source, not found by the code under test.
LANGUAGE = {"llama": "model", "qwen2": "model", "mistral": "model", "idefics3": "model.text_model"}
TOWER = {
    "idefics3": r"model\.vision_model\.",
    "qwen2_5_vl": r"model\.visual\.(?!merger)",
    "qwen3_vl": r"model\.visual\.(?!merger|deepstack_merger_list)",
}
PROJECTOR = {
    "idefics3": r"model\.connector\.",
    "qwen2_5_vl": r"model\.visual\.merger\.",
    "qwen3_vl": r"model\.visual\.(merger|deepstack_merger_list)\.",
}
WRAPPING = re.compile(
    r"^base_model\.model\.|\.(base_layer|modules_to_save\.default|lora_\w+\.default)"
)
BOTH = {"train_vision": True, "train_projector": True}


def is_language(family, name):
    layer = rf"{LANGUAGE.get(family, 'model.language_model')}.layers.\d+.(self_attn|mlp).\w+_proj."
    return re.match(layer, name) is not None


def is_tower(family, name):
    return re.match(TOWER.get(family, r"model\.vision_tower\."), name) is not None


def is_projector(family, name):
    return re.match(PROJECTOR.get(family, r"model\.multi_modal_projector\."), name) is not None


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def plain(name):
    return WRAPPING.sub("", name)


def changed(model, before):
    """Names of the family's own, of tensors that training changed."""
    return {plain(n) for n, p in model.named_parameters() if not torch.equal(p, before[n])}


@pytest.mark.parametrize(
    ("family", "switch"),
    [(f, "") for f in FAMILIES]
    + [(f, switch) for f in PICTURED for switch in ("train_projector", "train_vision")],
)
def test_lora_changes_exactly_the_parts_the_recipe_names(family, switch):
    model, said = adapted(family, **({switch: True} if switch else {}))
    before = weights(model)
    train(model, said, inputs(family))
    found = changed(model, before)
    language = {n for n in found if is_language(family, n)}
    tower = {n for n in found if is_tower(family, n)}
    projector = {n for n in found if is_projector(family, n)}
    assert found == language | tower | projector
    assert len(language) == 2 * 7
    assert bool(tower) == said.train_vision
    assert bool(projector) == said.train_projector
    assert not any("base_layer" in n or "original_module" in n for n, p in grads(model))


def grads(model):
    return [(n, p) for n, p in model.named_parameters() if p.grad is not None]


@pytest.mark.parametrize("family", FAMILIES)
def test_full_trains_the_language_model_with_head_and_embeddings_and_no_part_else(family):
    model, said = adapted(family, finetuning_type="full")
    before = weights(model)
    train(model, said, inputs(family))
    found = changed(model, before)
    language = {n for n in before if n.startswith(LANGUAGE.get(family, "model.language_model"))}
    assert found == {n for n in language | {"lm_head.weight"} if n in before}
    assert any("embed_tokens" in n for n in found)


@pytest.mark.parametrize("family", PICTURED)
def test_full_with_both_switches_gives_every_tensor_it_trains_a_gradient(family):
    model, said = adapted(family, finetuning_type="full", **BOTH)
    backward(model, said, inputs(family))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None or not p.grad.any()] == []
    assert any(is_tower(family, n) for n in trained)
    assert any(is_projector(family, n) for n in trained)


def test_the_deep_mergers_of_qwen3_vl_follow_the_projectors_switch_and_not_the_towers():
    tower, _ = adapted("qwen3_vl", train_vision=True)
    both, _ = adapted("qwen3_vl", train_projector=True)
    assert not any("merger" in one.name for one in trainable(tower))
    deep = {one.name for one in trainable(both) if "deepstack_merger_list" in one.name}
    assert {re.search(r"list\.(\d)", name)[1] for name in deep} == {"0", "1"}
    assert {one.kind for one in trainable(both) if "merger" in one.name} == {"projector"}


def test_layers_after_the_one_a_llava_reads_the_tower_at_are_not_trained():
    model = fresh("llava")
    model.config.vision_feature_layer = -2
    with pytest.raises(UserError, match="no linear layer"):  # its only layer comes after
        adapt(model, recipe(train_vision=True))
    layers = model.model.vision_tower.encoder.layers
    layers.append(copy.deepcopy(layers[0]))
    model = adapt(model, recipe(train_vision=True))
    tower = {
        one.name.partition("layers.")[2][0] for one in trainable(model) if one.kind == "vision"
    }
    assert tower == {"0"}


def test_only_the_named_layers_get_lora():
    model, _ = adapted("qwen2", lora_target=("q_proj", "v_proj"))
    assert {one.name.split(".")[-4] for one in trainable(model)} == {"q_proj", "v_proj"}


def test_an_unknown_layer_is_an_error_that_names_the_nearest():
    with pytest.raises(UserError, match="'q_prj'") as caught:
        adapted("qwen2", lora_target=("q_prj",))
    assert "did you mean 'q_proj'?" in caught.value.mend


@pytest.mark.parametrize("switch", ["train_vision", "train_projector"])
def test_a_part_that_a_model_has_not_cannot_be_trained(switch):
    with pytest.raises(UserError, match=switch):
        adapted("llama", **{switch: True})


def test_rank_alpha_and_rank_stabilising_decide_shape_and_scale():
    usual, _ = adapted("llama", lora_rank=4, lora_alpha=8)
    stable, _ = adapted("llama", lora_rank=4, lora_alpha=8, use_rslora=True)
    for model, scale in ((usual, 2.0), (stable, 4.0)):
        layer = model.get_base_model().model.layers[0].self_attn.q_proj
        assert layer.scaling["default"] == scale
        assert layer.lora_A["default"].weight.shape == (4, 32)


def test_dora_trains_a_magnitude_for_every_layer():
    plainly, _ = adapted("llama")
    dora, said = adapted("llama", use_dora=True)
    assert not any("magnitude" in one.name for one in trainable(plainly))
    before = weights(dora)
    train(dora, said, inputs("llama"))
    moved = [n for n, p in dora.named_parameters() if not torch.equal(p, before[n])]
    assert sum("magnitude" in n for n in moved) == 14


def test_dropout_is_there_while_training_and_only_if_asked_for():
    given = inputs("llama")
    differs = {}
    for rate in (0.0, 0.5):
        model, said = adapted("llama", lora_dropout=rate)
        train(model, said, given)
        with torch.no_grad():
            differs[rate] = not torch.equal(model(**given).loss, model(**given).loss)
    assert differs == {0.0: False, 0.5: True}


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava"])
def test_frozen_parts_stay_as_in_evaluation_whatever_train_is_told(family):
    model, _ = adapted(family, train_projector=True)
    model.eval()
    model.train()
    modes = {plain(n): m.training for n, m in model.named_modules() if n}
    parts = {n for n in modes if is_tower(family, n + ".")}
    assert parts
    assert not any(modes[n] for n in parts)
    assert all(m for n, m in modes.items() if is_projector(family, n + "."))
    assert all(m for n, m in modes.items() if "language_model" in n)


def test_a_batch_norm_is_never_trained_on_batches():
    model = fresh("llava")
    tower = model.model.vision_tower
    tower.pre_layrnorm = Normed(tower.pre_layrnorm)
    given = inputs("llava")
    ready = adapt(model, recipe(train_vision=True))
    ready.train()
    before = tower.pre_layrnorm.norm.running_mean.clone()
    ready(**given)
    assert torch.equal(tower.pre_layrnorm.norm.running_mean, before)
    assert tower.pre_layrnorm.training


class Normed(torch.nn.Module):
    """A layer norm with a batch norm after it."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.norm = torch.nn.BatchNorm1d(16)

    def forward(self, x):
        return self.norm(self.first(x).transpose(1, 2)).transpose(1, 2)


def test_the_report_counts_what_torch_counts_by_kind():
    model, _ = adapted("llava", **BOTH)
    found = trainable(model)
    assert sum(one.count for one in found) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    assert {one.kind for one in found} == {"attention", "mlp", "vision", "projector"}
    whole, _ = adapted("llama", finetuning_type="full")
    assert {one.kind for one in trainable(whole)} == {"attention", "mlp", "embedding", "other"}


def test_the_projector_has_its_own_rate_and_vectors_do_not_decay():
    settings = {"learning_rate": 1e-4, "weight_decay": 0.1, "projector_learning_rate": 1e-3}
    model, said = adapted("llava", train_projector=True, **settings)
    groups = {g["name"]: g for g in parameter_groups(model, said)}
    assert {n: (g["lr"], g["weight_decay"]) for n, g in groups.items()} == {
        "model": (1e-4, 0.1),
        "projector": (1e-3, 0.1),
        "projector, no decay": (1e-3, 0.0),
    }
    assert sum(len(g["params"]) for g in groups.values()) == len(trainable(model))
    one_rate, said = adapted("llava", train_projector=True)
    groups = parameter_groups(one_rate, said)
    assert sorted(g["name"] for g in groups) == ["model, no decay", "projector, no decay"]
    assert len({g["lr"] for g in groups}) == 1


def test_a_tiny_model_is_left_as_it_was_for_other_tests():
    assert not hasattr(tiny_model("llava").model, "peft_config")
