"""Fine-tuning on a CUDA device gives the CPU's losses: bfloat16, checkpointing, attention."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa.finetuning.loop import finetune
from tests.finetuning.run_recipes import build_recipe, read_log, save_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is available"),
]
STEPS = 8
KINDS = {
    "float32": ({}, 1e-3),
    "bfloat16": ({"dtype": "bfloat16", "bf16": True}, 5e-2),
    "checkpointing": ({"gradient_checkpointing": True}, 1e-3),
    "eager": ({"attn_implementation": "eager"}, 1e-3),
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


def loss_curve(folder, model, **overrides):
    finetune(build_recipe(model, folder, max_steps=STEPS, lora_dropout=0.0, **overrides))
    return [line["loss"] for line in read_log(folder) if "loss" in line]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_on_cuda_match_the_cpu(llama, tmp_path, kind):
    overrides, tolerance = KINDS[kind]
    expected = loss_curve(tmp_path / "cpu", llama, device="cpu")
    actual = loss_curve(tmp_path / "cuda", llama, device="cuda", **overrides)
    assert len(actual) == len(expected) == STEPS
    assert actual == pytest.approx(expected, rel=tolerance)


def test_run_on_cuda_is_resumed(llama, tmp_path):
    overrides = {"device": "cuda", "save_steps": 2}
    losses = loss_curve(tmp_path / "run", llama, **overrides)
    resumed = loss_curve(tmp_path / "run", llama, **overrides)
    assert resumed == losses
