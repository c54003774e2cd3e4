"""Two processes on a CPU (gloo) that shard a model (FSDP2) train and save what one does."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
import yaml
from safetensors.torch import load_file

from gen_msa import manifest
from tests.finetuning.run_recipes import (
    ROOT,
    build_recipe,
    run_process,
    save_tiny_model,
    write_recipe,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here"),
]
TINY = {"source": "tiny", "prompt": "predict/brief"}
NAMES = ("text", "images", "full")


def recipes_by_name(folder):
    """Return by name the recipe for one process, and what changes for two."""
    llama, llava = save_tiny_model(folder / "llama"), save_tiny_model(folder / "llava", "llava")
    dev_options = {"dev": [{**TINY, "limit": 2}], "eval_steps": 2}
    half = {"per_device_train_batch_size": 1}
    image_data = {"data": [{**TINY, "limit": 5}, {**TINY, "limit": 6, "images": False}]}
    trained_parts = {
        "train_projector": True,
        "train_vision": True,
        "projector_learning_rate": 0.001,
    }
    # 8 posts less one that cannot be used: an uneven last step.
    epoch = {"max_steps": -1, "num_train_epochs": 1}
    return {
        "images": (
            build_recipe(
                llava,
                folder,
                **image_data,
                **trained_parts,
                **dev_options,
                max_steps=4,
                per_device_train_batch_size=4,
            ),
            {**half, "gradient_accumulation_steps": 2},
        ),
        "full": (
            build_recipe(llama, folder, finetuning_type="full", learning_rate=0.001, max_steps=2),
            half,
        ),
        "text": (
            build_recipe(
                llama, folder, limit=8, gradient_checkpointing=True, **epoch, **dev_options
            ),
            half,
        ),
    }


def fsdp_environment():
    """The environment that `accelerate launch` makes of fsdp2.yaml."""
    config = yaml.safe_load((ROOT / "finetune/accelerate/fsdp2.yaml").read_text("utf-8"))
    plugin = {name.upper(): str(value) for name, value in config["fsdp_config"].items()}
    return {"ACCELERATE_USE_FSDP": "true", **plugin}


def run_recipes(folder, count, **environment):
    out_dir = folder / str(count)
    out_dir.mkdir()
    files = []
    for name, (base_recipe, overrides) in recipes_by_name(folder).items():
        changes = overrides if count == 2 else {}
        run_recipe = base_recipe.model_copy(update={"output_dir": str(out_dir / name), **changes})
        files.append(write_recipe(run_recipe, out_dir / f"{name}.yaml"))
    resumed = [f"{files[-1]}@2"] if count == 2 else []
    process = run_process(
        "-m",
        "tests.finetuning.run_recipes",
        out_dir,
        *files,
        *resumed,
        processes=count,
        **environment,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    names = [*recipes_by_name(folder), "resumed"]
    for rank in range(count):
        summaries = json.loads((out_dir / f"summary-{rank}.json").read_text())
        yield rank, dict(zip(names, summaries, strict=False))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Summaries of each recipe in one process, in two that shard the model, and the folder."""
    folder = tmp_path_factory.mktemp("fsdp")
    single = dict(run_recipes(folder, 1))[0]
    return single, dict(run_recipes(folder, 2, **fsdp_environment())), folder


@pytest.mark.parametrize("name", NAMES)
def test_sharded_run_matches_one_process_step_by_step(runs, name):
    single, (main, other) = runs[0][name], (runs[1][r][name] for r in (0, 1))
    assert main["sharded"]
    assert other["sharded"]
    assert not single["sharded"]
    assert len(single["curve"]) == len(main["curve"]) >= 2
    for single_row, sharded_row in zip(single["curve"], main["curve"], strict=True):
        assert sharded_row[0] == single_row[0]
        assert sharded_row[1:] == pytest.approx(single_row[1:], rel=1e-4)
    assert main["weights"] == other["weights"]
    assert main["best"] == other["best"] == single["best"]


@pytest.mark.parametrize("name", NAMES)
def test_saved_adapter_is_complete_and_matches_one_process(runs, name):
    folder = runs[2]
    saved_adapters = []
    for count in ("1", "2"):
        adapter = folder / count / name / "adapter"
        assert manifest.is_intact(adapter)
        file = "model.safetensors" if name == "full" else "adapter_model.safetensors"
        inference = json.loads((adapter / "inference.json").read_text())
        saved_adapters.append((load_file(adapter / file), inference["probe"]))
    (single_tensors, single_probe), (sharded_tensors, sharded_probe) = saved_adapters
    assert single_tensors.keys() == sharded_tensors.keys()
    for key, tensor in single_tensors.items():
        torch.testing.assert_close(sharded_tensors[key], tensor, rtol=1e-4, atol=1e-5)
    assert sharded_probe["tokens"] == single_probe["tokens"]
    assert sharded_probe["adapted"] == pytest.approx(single_probe["adapted"], abs=1e-4)
    assert sharded_probe["base"] == pytest.approx(single_probe["base"], abs=1e-4)


def test_resumed_sharded_run_is_bit_identical(runs):
    uninterrupted, resumed = runs[1][0]["text"], runs[1][0]["resumed"]
    assert (uninterrupted["first_step"], resumed["first_step"]) == (0, 2)
    assert resumed["curve"] == uninterrupted["curve"]
    assert resumed["weights"] == uninterrupted["weights"] == runs[1][1]["resumed"]["weights"]


@pytest.mark.parametrize(
    ("environment", "overrides", "message"),
    [
        ({"FSDP_VERSION": "1"}, {}, "FSDP 1 is not supported"),
        ({"WORLD_SIZE": "1"}, {}, "there is only one"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, {}, "fsdp_offload_params is not supported"),
        ({}, {"quantization": "nf4"}, "nf4 cannot be sharded"),
    ],
    ids=["version", "alone", "offload", "nf4"],
)
def test_unsupported_fsdp_settings_are_rejected_with_a_hint(
    environment, overrides, message, monkeypatch
):
    from gen_msa.errors import UserError
    from gen_msa.training import fsdp

    for name, value in {**fsdp_environment(), "WORLD_SIZE": "2", **environment}.items():
        monkeypatch.setenv(name, value)
    assert fsdp.fsdp_requested()
    with pytest.raises(UserError, match=message) as caught:
        fsdp.check_fsdp_settings(overrides.get("quantization", "none"))
    assert caught.value.hint
