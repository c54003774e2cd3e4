"""What a launcher asks for is done or refused by name; several processes must see the same."""

from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from gen_msa.errors import UserError
from gen_msa.finetuning import processes
from gen_msa.finetuning.adapting import Trained
from tests.finetuning.adapted import recipe

SAID = recipe(device="cpu")


@pytest.mark.parametrize(
    ("flag", "name"),
    [("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM")],
)
def test_ways_to_split_a_model_are_refused_by_name(monkeypatch, flag, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{flag}", "true")
    with pytest.raises(UserError, match=f"{name} is not supported") as caught:
        processes.begin(SAID)
    assert "fsdp2.yaml" in caught.value.mend


def test_a_launchers_file_does_not_change_precision_or_accumulation(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    accelerator = processes.begin(SAID)
    assert accelerator.mixed_precision == "no"
    assert accelerator.gradient_accumulation_steps == 1
    assert accelerator.device.type == "cpu"


@pytest.mark.parametrize(
    ("kind", "name", "partly"),
    [
        ("attention", "layers.0.q_proj.lora_A", False),
        ("projector", "projector.weight", True),
        ("vision", "tower.weight", True),
        ("mlp", "layers.0.experts.3.lora_A", True),
    ],
)
def test_processes_wait_for_no_gradient_that_may_not_come(kind, name, partly):
    accelerator = SimpleNamespace(ddp_handler=None)
    processes.share_gradients(accelerator, [Trained(kind, name, (1,), 1)])
    assert accelerator.ddp_handler.find_unused_parameters is partly


def test_one_process_agrees_with_itself_and_keeps_its_value():
    alone = SimpleNamespace(num_processes=1)
    processes.agree(alone, "rows", "abc")
    assert processes.from_main(alone, 0.5) == 0.5
