"""Frozen weights in 8 and 4 bits: only the language model's, and LoRA on top still learns."""

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
from gen_msa.finetuning import quantising
from gen_msa.finetuning.adapting import adapt, precision, save_adapter, trainable
from gen_msa.finetuning.gradients import check_gradients
from gen_msa.finetuning.opening import open_model
from tests.finetuning.adapted import backward, inputs, logits, recipe, train
from tests.fixtures.tiny_models import tiny_model
from tests.fixtures.tiny_parts import text_settings
from tests.fixtures.tiny_tokenizers import tiny_tokenizer

KINDS = {"int8": Linear8bitLt, "nf4": Linear4bit}
LOW = {"bf16": True, "dtype": "bfloat16"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text model whose layers are as wide as a block of NF4."""
    root = tmp_path_factory.mktemp("model")
    torch.manual_seed(7)
    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    hf.LlamaForCausalLM(hf.LlamaConfig(**{**text_settings("llama"), **wide})).save_pretrained(root)
    tiny_tokenizer("llama").save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    root = tmp_path_factory.mktemp("seeing")
    tiny = tiny_model("idefics3")
    tiny.model.save_pretrained(root)
    tiny.processor.save_pretrained(root)
    return root


def ready(folder, **settings):
    said = recipe(model_name_or_path=str(folder), device="cpu", **settings)
    torch.manual_seed(5)
    return adapt(open_model(said).model, said), said


def looked_at(model, said):
    """A forward without gradients in evaluation mode, as a look at the dev posts is."""
    with precision(model, said):
        logits(model, inputs("llama"))
    model.train()


def of_b(model):
    return {n: p.grad for n, p in model.named_parameters() if ".lora_B." in n}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_language_models_linear_layers_are_quantised(seeing, kind):
    model, _ = ready(seeing, quantization=kind, train_projector=True)
    inner = model.get_base_model()
    small = {n for n, m in inner.named_modules() if isinstance(m, KINDS[kind])}
    assert small == {
        f"model.text_model.layers.{i}.{layer}.base_layer"
        for i in (0, 1)
        for layer in (
            *(f"self_attn.{x}_proj" for x in "qkvo"),
            *(f"mlp.{x}_proj" for x in ("gate", "up", "down")),
        )
    }
    assert {n.dtype for n in inner.model.vision_model.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, LOW], ids=["float32", "bfloat16"])
def test_every_lora_weight_learns_in_float32_after_a_look_at_dev(folder, kind, settings):
    model, said = ready(folder, quantization=kind, **settings)
    looked_at(model, said)
    train(model, said, inputs("llama"))
    assert check_gradients(model) == []
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert len(trainable(model)) == 2 * 2 * 7


@pytest.mark.parametrize(("kind", "least"), [("int8", 0.99), ("nf4", 0.95)])
def test_gradients_point_where_those_of_bfloat16_do(folder, kind, least):
    flat = []
    for name in ("none", kind):
        model, said = ready(folder, quantization=name, **LOW)
        looked_at(model, said)
        backward(model, said, inputs("llama"))
        flat.append(torch.cat([g.flatten() for g in of_b(model).values()]))
    assert least <= cosine_similarity(flat[0], flat[1], dim=0) < 1


@pytest.mark.skipif(not has_avx512bf16(), reason="this CPU has no AVX512-BF16: nothing is repacked")
def test_without_the_cure_nf4_loses_gradients_on_this_cpu_and_the_check_says_so(
    folder, monkeypatch
):
    monkeypatch.setattr(quantising, "cure", lambda model: None)
    model, said = ready(folder, quantization="nf4", **LOW)
    looked_at(model, said)
    assert backward(model, said, inputs("llama")) == pytest.approx(6.07, abs=0.1)
    lost = {n.split(".")[-4] for n, gradient in of_b(model).items() if not gradient.any()}
    assert {"q_proj", "k_proj", "v_proj"} <= lost
    with pytest.raises(UserError, match="q_proj"):
        check_gradients(model)


def test_an_adapter_trained_on_four_bits_reads_back_on_them(folder, tmp_path):
    from peft import PeftModel

    model, said = ready(folder, quantization="nf4")
    given = inputs("llama")
    untrained = logits(model, given)
    train(model.train(), said, given)
    trained = logits(model, given)
    assert not torch.equal(trained, untrained)
    save_adapter(model, tmp_path)
    again = PeftModel.from_pretrained(open_model(said).model, tmp_path)
    assert torch.equal(logits(again, given), trained)


def test_quantised_weights_cannot_be_trained_whole():
    with pytest.raises(ValidationError, match="finetuning_type: lora"):
        recipe(finetuning_type="full", quantization="nf4")


def test_without_bitsandbytes_the_extra_is_named(folder, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name == "bitsandbytes":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtra, match=r"gen-msa\[quant\]"):
        quantising.settings(recipe(quantization="int8"), "cpu")
