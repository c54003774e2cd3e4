"""Mixed precision and checkpointing: products in bfloat16, gradients in float32, results alike."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
from torch.nn.functional import cosine_similarity

from gen_msa.finetuning.adapting import adapt, precision, trainable
from tests.finetuning.adapted import adapted, backward, fresh, inputs, logits, recipe, train

LOW = {"bf16": True, "dtype": "bfloat16"}


def low(family, **settings):
    """As `adapted`, with frozen weights in bfloat16."""
    torch.manual_seed(5)
    said = recipe(**LOW, **settings)
    return adapt(fresh(family).to(torch.bfloat16), said), said


def flat(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl", "gemma3"])
def test_with_frozen_weights_in_bfloat16_what_is_trained_and_its_gradients_are_float32(family):
    eyes = {} if family == "llama" else {"train_vision": True, "train_projector": True}
    model, said = low(family, **eyes)
    backward(model, said, inputs(family))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == len(trainable(model))
    assert {(p.dtype, p.grad.dtype) for p in trained} == {(torch.float32, torch.float32)}
    frozen = {p.dtype for p in model.parameters() if not p.requires_grad and p.dim() > 1}
    assert torch.bfloat16 in frozen


@pytest.mark.parametrize("settings", [{}, {"finetuning_type": "full"}])
def test_mixed_precision_is_near_to_single_precision(settings):
    given = inputs("idefics3")
    mixed, said_low = low("idefics3", **settings)
    single, said = adapted("idefics3", **settings)
    losses = backward(mixed, said_low, given), backward(single, said, given)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    assert cosine_similarity(flat(mixed), flat(single), dim=0) > 0.98


def seen_by(layer):
    """The dtypes of what comes into a layer, as they come."""
    found = []
    layer.register_forward_pre_hook(lambda module, args: found.append(args[0].dtype))
    return found


@pytest.mark.parametrize("again", [False, True])
def test_in_mixed_precision_lora_is_not_shown_widened_inputs_not_even_when_recomputed(again):
    model, said = low("llama", gradient_checkpointing=again)
    inner = seen_by(model.get_base_model().model.layers[1].mlp.down_proj.lora_A["default"])
    backward(model, said, inputs("llama"))
    assert inner == [torch.bfloat16] * (2 if again else 1)
    assert model.get_base_model().model.layers[0].mlp.down_proj.cast_input_dtype_enabled


def test_without_bfloat16_precision_changes_nothing():
    model, said = adapted("llama")
    given = inputs("llama")
    with precision(model, said), torch.no_grad():
        assert not torch.is_autocast_enabled("cpu")
        within = model(**given).logits
    assert torch.equal(within, logits(model, given))


def test_bf16_alone_keeps_frozen_weights_but_computes_in_bfloat16():
    model, said = adapted("llama", bf16=True)
    given = inputs("llama")
    with precision(model, said), torch.no_grad():
        within = model(**given).logits
    assert within.dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", ["llama", "idefics3", "qwen2_5_vl", "gemma3"])
@pytest.mark.parametrize("make", [adapted, low])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_checkpointing_computes_layers_again_and_changes_no_gradient(family, make, kind):
    given = inputs(family)
    results, calls = [], []
    for on in (False, True):
        model, said = make(
            family, finetuning_type=kind, gradient_checkpointing=on, lora_dropout=0.3
        )
        inside = model.get_base_model() if kind == "lora" else model
        seen = seen_by(inside.get_decoder().layers[0].mlp.down_proj)
        loss = backward(model, said, given)
        results.append((loss, flat(model)))
        calls.append(len(seen))
    assert calls == [1, 2]
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_checkpointing_goes_on_after_evaluation():
    model, said = low("llama", gradient_checkpointing=True)
    logits_before = len(trainable(model))
    with precision(model, said):
        logits(model, inputs("llama"))
    model.train()
    train(model, said, inputs("llama"))
    assert len([p for p in model.parameters() if p.grad is not None]) == logits_before
