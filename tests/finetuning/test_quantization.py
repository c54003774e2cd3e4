"""Frozen weights in 8 and 4 bits: only of the language model, and LoRA on top trains."""

import builtins

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")
pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

import torch
import transformers as hf
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from pydantic import ValidationError
from torch.nn.functional import cosine_similarity

from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning import peft_model as load_model_module
from gen_msa.finetuning.peft_model import (
    load_model,
    mixed_precision,
    trainable_params,
    wrap_with_peft,
    write_adapter_weights,
)
from gen_msa.finetuning.train_step import check_gradients
from tests.finetuning.tiny_peft import backward, build_recipe, logits, model_inputs, train
from tests.fixtures.tiny_models import tiny_model
from tests.fixtures.tiny_parts import text_settings
from tests.fixtures.tiny_tokenizers import tiny_tokenizer

QUANTIZED_LAYERS = {"int8": Linear8bitLt, "nf4": Linear4bit}
BF16 = {"bf16": True, "dtype": "bfloat16"}


@pytest.fixture(scope="module")
def text_model_folder(tmp_path_factory):
    """A text model whose layers are as wide as a block of NF4."""
    root = tmp_path_factory.mktemp("model")
    torch.manual_seed(7)
    size_settings = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    hf.LlamaForCausalLM(
        hf.LlamaConfig(**{**text_settings("llama"), **size_settings})
    ).save_pretrained(root)
    tiny_tokenizer("llama").save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def vision_model_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("seeing")
    tiny = tiny_model("idefics3")
    tiny.model.save_pretrained(root)
    tiny.processor.save_pretrained(root)
    return root


def quantized_peft_model(model_folder, **settings):
    train_recipe = build_recipe(model_name_or_path=str(model_folder), device="cpu", **settings)
    torch.manual_seed(5)
    return wrap_with_peft(load_model(train_recipe).model, train_recipe), train_recipe


def evaluate_once(model, recipe):
    """A forward pass without gradients in evaluation mode, as validation does."""
    with mixed_precision(model, recipe):
        logits(model, model_inputs("llama"))
    model.train()


def lora_b_gradients(model):
    return {n: p.grad for n, p in model.named_parameters() if ".lora_B." in n}


@pytest.mark.parametrize("quantization", QUANTIZED_LAYERS)
def test_only_language_model_linear_layers_are_quantized(vision_model_folder, quantization):
    model, _ = quantized_peft_model(
        vision_model_folder, quantization=quantization, train_projector=True
    )
    base_model = model.get_base_model()
    quantized_names = {
        n for n, m in base_model.named_modules() if isinstance(m, QUANTIZED_LAYERS[quantization])
    }
    assert quantized_names == {
        f"model.text_model.layers.{i}.{layer}.base_layer"
        for i in (0, 1)
        for layer in (
            *(f"self_attn.{x}_proj" for x in "qkvo"),
            *(f"mlp.{x}_proj" for x in ("gate", "up", "down")),
        )
    }
    assert {n.dtype for n in base_model.model.vision_model.parameters()} == {torch.float32}


@pytest.mark.parametrize("quantization", QUANTIZED_LAYERS)
@pytest.mark.parametrize("settings", [{}, BF16], ids=["float32", "bfloat16"])
def test_all_lora_weights_train_in_float32_after_evaluation(
    text_model_folder, quantization, settings
):
    model, recipe = quantized_peft_model(text_model_folder, quantization=quantization, **settings)
    evaluate_once(model, recipe)
    train(model, recipe, model_inputs("llama"))
    assert check_gradients(model) == []
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert len(trainable_params(model)) == 2 * 2 * 7


@pytest.mark.parametrize(("quantization", "min_similarity"), [("int8", 0.99), ("nf4", 0.95)])
def test_quantized_gradients_are_close_to_bfloat16(text_model_folder, quantization, min_similarity):
    flat_gradients = []
    for name in ("none", quantization):
        model, recipe = quantized_peft_model(text_model_folder, quantization=name, **BF16)
        evaluate_once(model, recipe)
        backward(model, recipe, model_inputs("llama"))
        flat_gradients.append(torch.cat([g.flatten() for g in lora_b_gradients(model).values()]))
    assert min_similarity <= cosine_similarity(flat_gradients[0], flat_gradients[1], dim=0) < 1


@pytest.mark.skipif(not has_avx512bf16(), reason="this CPU has no AVX512-BF16: nothing is repacked")
def test_without_the_fix_nf4_gradient_loss_is_detected(text_model_folder, monkeypatch):
    monkeypatch.setattr(load_model_module, "fix_quantized_modules", lambda model: None)
    model, recipe = quantized_peft_model(text_model_folder, quantization="nf4", **BF16)
    evaluate_once(model, recipe)
    assert backward(model, recipe, model_inputs("llama")) == pytest.approx(6.07, abs=0.1)
    zero_layers = {
        n.split(".")[-4] for n, gradient in lora_b_gradients(model).items() if not gradient.any()
    }
    assert {"q_proj", "k_proj", "v_proj"} <= zero_layers
    with pytest.raises(UserError, match="q_proj"):
        check_gradients(model)


def test_nf4_adapter_reloads_identically(text_model_folder, tmp_path):
    from peft import PeftModel

    model, recipe = quantized_peft_model(text_model_folder, quantization="nf4")
    batch = model_inputs("llama")
    logits_before = logits(model, batch)
    train(model.train(), recipe, batch)
    logits_after = logits(model, batch)
    assert not torch.equal(logits_after, logits_before)
    write_adapter_weights(model, tmp_path)
    reloaded = PeftModel.from_pretrained(load_model(recipe).model, tmp_path)
    assert torch.equal(logits(reloaded, batch), logits_after)


def test_full_finetuning_of_quantized_weights_is_rejected():
    with pytest.raises(ValidationError, match="finetuning_type: lora"):
        build_recipe(finetuning_type="full", quantization="nf4")


def test_missing_bitsandbytes_names_the_extra(text_model_folder, monkeypatch):
    original_import = builtins.__import__

    def import_without_bitsandbytes(name, *args):
        if name == "bitsandbytes":
            raise ImportError(name)
        return original_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", import_without_bitsandbytes)
    with pytest.raises(MissingExtra, match=r"gen-msa\[quant\]"):
        load_model_module.quantization_options(build_recipe(quantization="int8"), "cpu")
