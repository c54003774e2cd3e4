"""Fine-tuning on a CUDA device learns as the CPU does: bfloat16, checkpointing, attention."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa.finetuning.loop import finetune
from tests.finetuning.running import base, log, recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is at hand"),
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
    return base(tmp_path_factory.mktemp("models") / "llama")


def curve(folder, model, **given):
    finetune(recipe(model, folder, max_steps=STEPS, lora_dropout=0.0, **given))
    return [line["loss"] for line in log(folder) if "loss" in line]


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_on_the_device_are_those_of_the_cpu(llama, tmp_path, kind):
    given, tolerance = KINDS[kind]
    wanted = curve(tmp_path / "cpu", llama, device="cpu")
    found = curve(tmp_path / "cuda", llama, device="cuda", **given)
    assert len(found) == len(wanted) == STEPS
    assert found == pytest.approx(wanted, rel=tolerance)


def test_a_run_on_the_device_is_gone_on_from(llama, tmp_path):
    given = {"device": "cuda", "save_steps": 2}
    whole = curve(tmp_path / "whole", llama, **given)
    again = curve(tmp_path / "whole", llama, **given)
    assert again == whole
