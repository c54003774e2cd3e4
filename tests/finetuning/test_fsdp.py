"""Two processes on a CPU (gloo) that share a model (FSDP2) learn, judge and keep what one does."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
import yaml
from safetensors.torch import load_file

from gen_msa import manifest
from tests.finetuning.running import ROOT, base, recipe, start, written

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here"),
]
TINY = {"source": "tiny", "prompt": "reader/brief"}
NAMES = ("words", "pictures", "full")


def recipes(folder):
    """By name: the recipe for one process, and what two are given instead."""
    llama, llava = base(folder / "llama"), base(folder / "llava", "llava")
    dev = {"dev": [{**TINY, "limit": 2}], "eval_steps": 2}
    half = {"per_device_train_batch_size": 1}
    seen = {"data": [{**TINY, "limit": 5}, {**TINY, "limit": 6, "pictures": False}]}
    parts = {"train_projector": True, "train_vision": True, "projector_learning_rate": 0.001}
    # 8 posts less one that cannot be used: an uneven last step.
    epoch = {"max_steps": -1, "num_train_epochs": 1}
    return {
        "pictures": (
            recipe(llava, folder, **seen, **parts, **dev, max_steps=4,
                   per_device_train_batch_size=4),
            {**half, "gradient_accumulation_steps": 2},
        ),
        "full": (
            recipe(llama, folder, finetuning_type="full", learning_rate=0.001, max_steps=2), half
        ),
        "words": (
            recipe(llama, folder, limit=8, gradient_checkpointing=True, **epoch, **dev), half
        ),
    }  # fmt: skip


def asked():
    """The environment that `accelerate launch` makes of fsdp2.yaml."""
    told = yaml.safe_load((ROOT / "finetune/accelerate/fsdp2.yaml").read_text("utf-8"))
    plugin = {name.upper(): str(value) for name, value in told["fsdp_config"].items()}
    return {"ACCELERATE_USE_FSDP": "true", **plugin}


def ran(folder, count, **environment):
    place = folder / str(count)
    place.mkdir()
    files = []
    for name, (said, instead) in recipes(folder).items():
        more = instead if count == 2 else {}
        given = said.model_copy(update={"output_dir": str(place / name), **more})
        files.append(written(given, place / f"{name}.yaml"))
    again = [f"{files[-1]}@2"] if count == 2 else []
    run = start(
        "-m", "tests.finetuning.running", place, *files, *again, processes=count, **environment
    )
    assert run.returncode == 0, run.stderr[-4000:]
    names = [*recipes(folder), "gone on"]
    for rank in range(count):
        seen = json.loads((place / f"saw-{rank}.json").read_text())
        yield rank, dict(zip(names, seen, strict=False))


@pytest.fixture(scope="module")
def saw(tmp_path_factory):
    """What each recipe's processes saw: alone, and both that share a model; and the folder."""
    folder = tmp_path_factory.mktemp("fsdp")
    alone = dict(ran(folder, 1))[0]
    return alone, dict(ran(folder, 2, **asked())), folder


@pytest.mark.parametrize("name", NAMES)
def test_they_learn_what_one_process_learns_step_by_step(saw, name):
    alone, (main, other) = saw[0][name], (saw[1][r][name] for r in (0, 1))
    assert main["split"]
    assert other["split"]
    assert not alone["split"]
    assert len(alone["curve"]) == len(main["curve"]) >= 2
    for one, both in zip(alone["curve"], main["curve"], strict=True):
        assert both[0] == one[0]
        assert both[1:] == pytest.approx(one[1:], rel=1e-4)
    assert main["weights"] == other["weights"]
    assert main["best"] == other["best"] == alone["best"]


@pytest.mark.parametrize("name", NAMES)
def test_the_adapter_is_whole_and_that_of_one_process(saw, name):
    folder = saw[2]
    found = []
    for count in ("1", "2"):
        adapter = folder / count / name / "adapter"
        assert manifest.whole(adapter)
        file = "model.safetensors" if name == "full" else "adapter_model.safetensors"
        reading = json.loads((adapter / "reading.json").read_text())
        found.append((load_file(adapter / file), reading["probe"]))
    (one, before), (both, after) = found
    assert one.keys() == both.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(both[key], tensor, rtol=1e-4, atol=1e-5)
    assert after["tokens"] == before["tokens"]
    assert after["adapted"] == pytest.approx(before["adapted"], abs=1e-4)
    assert after["base"] == pytest.approx(before["base"], abs=1e-4)


def test_going_on_together_is_bit_for_bit_not_having_stopped(saw):
    whole, again = saw[1][0]["words"], saw[1][0]["gone on"]
    assert (whole["began"], again["began"]) == (0, 2)
    assert again["curve"] == whole["curve"]
    assert again["weights"] == whole["weights"] == saw[1][1]["gone on"]["weights"]


@pytest.mark.parametrize(
    ("environment", "given", "said"),
    [
        ({"FSDP_VERSION": "1"}, {}, "FSDP 1 is not supported"),
        ({"WORLD_SIZE": "1"}, {}, "there is only one"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, {}, "fsdp_offload_params is not supported"),
        ({}, {"quantization": "nf4"}, "nf4 cannot be split"),
    ],
    ids=["version", "alone", "offload", "nf4"],
)
def test_what_cannot_be_split_is_refused_with_a_way_out(
    environment, given, said, tmp_path, monkeypatch
):
    from gen_msa.errors import UserError
    from gen_msa.finetuning import sharding

    for name, value in {**asked(), "WORLD_SIZE": "2", **environment}.items():
        monkeypatch.setenv(name, value)
    assert sharding.wanted()
    with pytest.raises(UserError, match=said) as caught:
        sharding.check(recipe("tiny", tmp_path, **given))
    assert caught.value.mend
