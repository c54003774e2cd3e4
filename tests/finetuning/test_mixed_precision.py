"""Mixed precision and checkpointing: products in bfloat16, gradients in float32, equal results."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
from torch.nn.functional import cosine_similarity

from gen_msa.finetuning.peft_model import mixed_precision, trainable_params, wrap_with_peft
from tests.finetuning.tiny_peft import (
    backward,
    build_recipe,
    copy_tiny_model,
    logits,
    model_inputs,
    tiny_peft_model,
    train,
)

BF16 = {"bf16": True, "dtype": "bfloat16"}


def bf16_peft_model(family, **settings):
    """As `tiny_peft_model`, with frozen weights in bfloat16."""
    torch.manual_seed(5)
    train_recipe = build_recipe(**BF16, **settings)
    return wrap_with_peft(copy_tiny_model(family).to(torch.bfloat16), train_recipe), train_recipe


def flat_gradients(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl", "gemma3"])
def test_trained_weights_and_gradients_are_float32_on_bfloat16_base(family):
    vision_options = {} if family == "llama" else {"train_vision": True, "train_projector": True}
    model, recipe = bf16_peft_model(family, **vision_options)
    backward(model, recipe, model_inputs(family))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == len(trainable_params(model))
    assert {(p.dtype, p.grad.dtype) for p in trained} == {(torch.float32, torch.float32)}
    frozen = {p.dtype for p in model.parameters() if not p.requires_grad and p.dim() > 1}
    assert torch.bfloat16 in frozen


@pytest.mark.parametrize("settings", [{}, {"finetuning_type": "full"}])
def test_mixed_precision_is_close_to_float32(settings):
    batch = model_inputs("idefics3")
    mixed, mixed_recipe = bf16_peft_model("idefics3", **settings)
    single, recipe = tiny_peft_model("idefics3", **settings)
    losses = backward(mixed, mixed_recipe, batch), backward(single, recipe, batch)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    assert cosine_similarity(flat_gradients(mixed), flat_gradients(single), dim=0) > 0.98


def record_input_dtypes(layer):
    """The dtypes of the inputs of a layer, in order."""
    dtypes = []
    layer.register_forward_pre_hook(lambda module, args: dtypes.append(args[0].dtype))
    return dtypes


@pytest.mark.parametrize("checkpointing", [False, True])
def test_lora_inputs_stay_bfloat16_also_when_recomputed(checkpointing):
    model, recipe = bf16_peft_model("llama", gradient_checkpointing=checkpointing)
    input_dtypes = record_input_dtypes(
        model.get_base_model().model.layers[1].mlp.down_proj.lora_A["default"]
    )
    backward(model, recipe, model_inputs("llama"))
    assert input_dtypes == [torch.bfloat16] * (2 if checkpointing else 1)
    assert model.get_base_model().model.layers[0].mlp.down_proj.cast_input_dtype_enabled


def test_mixed_precision_is_a_no_op_without_bf16():
    model, recipe = tiny_peft_model("llama")
    batch = model_inputs("llama")
    with mixed_precision(model, recipe), torch.no_grad():
        assert not torch.is_autocast_enabled("cpu")
        precision_logits = model(**batch).logits
    assert torch.equal(precision_logits, logits(model, batch))


def test_bf16_keeps_float32_weights_and_computes_in_bfloat16():
    model, recipe = tiny_peft_model("llama", bf16=True)
    batch = model_inputs("llama")
    with mixed_precision(model, recipe), torch.no_grad():
        precision_logits = model(**batch).logits
    assert precision_logits.dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", ["llama", "idefics3", "qwen2_5_vl", "gemma3"])
@pytest.mark.parametrize("make_model", [tiny_peft_model, bf16_peft_model])
@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
def test_gradient_checkpointing_recomputes_with_equal_gradients(
    family, make_model, finetuning_type
):
    batch = model_inputs(family)
    results, calls = [], []
    for checkpointing in (False, True):
        model, recipe = make_model(
            family,
            finetuning_type=finetuning_type,
            gradient_checkpointing=checkpointing,
            lora_dropout=0.3,
        )
        base = model.get_base_model() if finetuning_type == "lora" else model
        input_dtypes = record_input_dtypes(base.get_decoder().layers[0].mlp.down_proj)
        loss = backward(model, recipe, batch)
        results.append((loss, flat_gradients(model)))
        calls.append(len(input_dtypes))
    assert calls == [1, 2]
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_gradient_checkpointing_continues_after_evaluation():
    model, recipe = bf16_peft_model("llama", gradient_checkpointing=True)
    n_trainable = len(trainable_params(model))
    with mixed_precision(model, recipe):
        logits(model, model_inputs("llama"))
    model.train()
    train(model, recipe, model_inputs("llama"))
    assert len([p for p in model.parameters() if p.grad is not None]) == n_trainable
