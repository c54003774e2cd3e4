"""What a launcher requests is done or rejected by name; processes must see the same data."""

from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from gen_msa.errors import UserError
from gen_msa.finetuning.peft_model import TrainableParam
from gen_msa.training import distributed


@pytest.mark.parametrize(
    ("flag", "name"),
    [("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM")],
)
def test_unsupported_sharding_is_rejected_by_name(monkeypatch, flag, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{flag}", "true")
    with pytest.raises(UserError, match=f"{name} is not supported") as caught:
        distributed.create_accelerator(cpu=True)
    assert "fsdp2.yaml" in caught.value.hint


def test_sharding_of_a_student_is_rejected(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match=r"a student is not split among processes \(FSDP\)"):
        distributed.create_accelerator(cpu=True, can_shard=False)


def test_launcher_settings_do_not_change_precision_or_accumulation(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    accelerator = distributed.create_accelerator(cpu=True)
    assert accelerator.mixed_precision == "no"
    assert accelerator.gradient_accumulation_steps == 1
    assert accelerator.device.type == "cpu"


@pytest.mark.parametrize(
    ("kind", "name", "find_unused"),
    [
        ("attention", "layers.0.q_proj.lora_A", False),
        ("projector", "projector.weight", True),
        ("vision", "tower.weight", True),
        ("mlp", "layers.0.experts.3.lora_A", True),
    ],
)
def test_ddp_tolerates_params_that_may_lack_gradients(kind, name, find_unused):
    accelerator = SimpleNamespace(ddp_handler=None)
    distributed.configure_ddp(accelerator, [TrainableParam(kind, name, (1,), 1)])
    assert accelerator.ddp_handler.find_unused_parameters is find_unused


def test_single_process_broadcast_keeps_its_value():
    single_process = SimpleNamespace(num_processes=1)
    distributed.assert_equal_across_ranks(single_process, "rows", "abc")
    assert distributed.broadcast(single_process, 0.5) == 0.5
    assert distributed.ProcessGroup().broadcast(0.5) == 0.5


def test_different_values_are_listed_by_process(monkeypatch):
    monkeypatch.setattr("accelerate.utils.gather_object", lambda values: [*values, ""])
    with pytest.raises(UserError, match=r"same rows \(process 0: abc, process 1: none\)"):
        distributed.assert_equal_across_ranks(SimpleNamespace(num_processes=2), "rows", "abc")
