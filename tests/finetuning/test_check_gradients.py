"""Every trained tensor must get a gradient; those that cannot have one yet are returned."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning.peft_model import trainable_params
from gen_msa.finetuning.train_step import check_gradients
from tests.finetuning.tiny_peft import backward, model_inputs, tiny_peft_model, train
from tests.fixtures.tiny_models import FAMILIES, VISION_FAMILIES

TRAIN_VISION_AND_PROJECTOR = {"train_vision": True, "train_projector": True}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_lora_a_is_unproven_at_the_first_step(family):
    model, recipe = tiny_peft_model(
        family, **(TRAIN_VISION_AND_PROJECTOR if family in VISION_FAMILIES else {})
    )
    model_batch = model_inputs(family)
    backward(model, recipe, model_batch)
    unproven = check_gradients(model)
    assert sorted(unproven) == sorted(
        o.name for o in trainable_params(model) if ".lora_A." in o.name
    )
    train(model, recipe, model_batch)
    assert check_gradients(model) == []


def test_detached_layer_is_named():
    model, recipe = tiny_peft_model("llama")
    layer = model.get_base_model().model.layers[1].self_attn.v_proj
    layer.register_forward_hook(lambda module, args, out: out.detach())
    backward(model, recipe, model_inputs("llama"))
    with pytest.raises(UserError, match=r"1 of the tensors") as caught:
        check_gradients(model)
    assert "layers.1.self_attn.v_proj.lora_B.default.weight" in caught.value.problem


def test_zero_gradient_is_an_error():
    model, recipe = tiny_peft_model("llama")
    backward(model, recipe, model_inputs("llama"))
    next(p for n, p in model.named_parameters() if "lora_B" in n).grad.zero_()
    with pytest.raises(UserError, match="got no gradient"):
        check_gradients(model)


def test_lora_a_without_gradient_after_lora_b_moved_is_an_error():
    model, recipe = tiny_peft_model("llama")
    train(model, recipe, model_inputs("llama"))
    next(p for n, p in model.named_parameters() if "lora_A" in n).grad.zero_()
    with pytest.raises(UserError, match="lora_A"):
        check_gradients(model)


def test_batch_without_images_defers_the_vision_check():
    model, recipe = tiny_peft_model("llava", **TRAIN_VISION_AND_PROJECTOR)
    train(model, recipe, model_inputs("llava"))
    model.zero_grad()
    model_batch = model_inputs("llava")
    is_text = model_batch["input_ids"] != model.config.image_token_id
    text_batch = {
        k: model_batch[k][is_text][None] for k in ("input_ids", "attention_mask", "labels")
    }
    backward(model, recipe, text_batch)
    unproven = check_gradients(model, has_images=False)
    kinds = {o.name: o.kind for o in trainable_params(model)}
    assert {kinds[name] for name in unproven} == {"vision", "projector"}
    assert len(unproven) == sum(kind in ("vision", "projector") for kind in kinds.values())
    with pytest.raises(UserError, match="got no gradient"):
        check_gradients(model)


def test_zero_projector_that_blocks_tower_gradients_is_found():
    model, recipe = tiny_peft_model("gemma3", train_vision=True)
    projector = model.get_base_model().model.multi_modal_projector
    torch.nn.init.zeros_(projector.mm_input_projection_weight)
    backward(model, recipe, model_inputs("gemma3"))
    with pytest.raises(UserError, match="vision_tower"):
        check_gradients(model)
