"""Every trained tensor must get a gradient; what cannot be proved yet is named, the rest stops."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning.adapting import trainable
from gen_msa.finetuning.gradients import check_gradients
from tests.finetuning.adapted import adapted, backward, inputs, train
from tests.fixtures.tiny_models import FAMILIES, PICTURED

BOTH = {"train_vision": True, "train_projector": True}


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_first_step_only_lora_a_is_unproved_and_at_the_second_nothing(family):
    model, said = adapted(family, **(BOTH if family in PICTURED else {}))
    given = inputs(family)
    backward(model, said, given)
    first = check_gradients(model)
    assert sorted(first) == sorted(o.name for o in trainable(model) if ".lora_A." in o.name)
    train(model, said, given)
    assert check_gradients(model) == []


def test_a_layer_cut_off_from_the_loss_is_an_error_that_names_it():
    model, said = adapted("llama")
    layer = model.get_base_model().model.layers[1].self_attn.v_proj
    layer.register_forward_hook(lambda module, args, out: out.detach())
    backward(model, said, inputs("llama"))
    with pytest.raises(UserError, match=r"1 of the tensors") as caught:
        check_gradients(model)
    assert "layers.1.self_attn.v_proj.lora_B.default.weight" in caught.value.problem


def test_a_gradient_of_exactly_zero_is_as_bad_as_none():
    model, said = adapted("llama")
    backward(model, said, inputs("llama"))
    next(p for n, p in model.named_parameters() if "lora_B" in n).grad.zero_()
    with pytest.raises(UserError, match="got no gradient"):
        check_gradients(model)


def test_a_lora_a_that_stays_silent_although_its_b_has_moved_is_an_error():
    model, said = adapted("llama")
    train(model, said, inputs("llama"))
    next(p for n, p in model.named_parameters() if "lora_A" in n).grad.zero_()
    with pytest.raises(UserError, match="lora_A"):
        check_gradients(model)


def test_a_batch_without_pictures_proves_nothing_of_tower_and_projector():
    model, said = adapted("llava", **BOTH)
    train(model, said, inputs("llava"))
    model.zero_grad()
    given = inputs("llava")
    words = given["input_ids"] != model.config.image_token_id
    text = {k: given[k][words][None] for k in ("input_ids", "attention_mask", "labels")}
    backward(model, said, text)
    waiting = check_gradients(model, pictures=False)
    kinds = {o.name: o.kind for o in trainable(model)}
    assert {kinds[name] for name in waiting} == {"vision", "projector"}
    assert len(waiting) == sum(kind in ("vision", "projector") for kind in kinds.values())
    with pytest.raises(UserError, match="got no gradient"):
        check_gradients(model)


def test_a_blank_projector_that_starves_the_tower_is_found():
    model, said = adapted("gemma3", train_vision=True)
    projector = model.get_base_model().model.multi_modal_projector
    torch.nn.init.zeros_(projector.mm_input_projection_weight)
    backward(model, said, inputs("gemma3"))
    with pytest.raises(UserError, match="vision_tower"):
        check_gradients(model)
