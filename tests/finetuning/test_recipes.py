"""Every packaged recipe and accelerate config is valid; recipes dry-run on a tiny model."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from gen_msa import resources
from gen_msa.errors import UserError
from gen_msa.finetuning import recipe

ROOT = resources.resource_folder("finetune")
RECIPES = sorted((ROOT / "lora").rglob("*.yaml"))
CONFIGS = sorted((ROOT / "accelerate").rglob("*.yaml"))
TINY_FAMILY_OF_RECIPE = {
    "builtin": "llava",
    "gemma3_4b": "gemma3",
    "internvl3_2b": "internvl",
    "llava_onevision_7b": "llava_onevision",
    "practice_cpu": "llava",
    "qwen2_5_vl_3b": "qwen2_5_vl",
    "qwen2_5_vl_7b_qlora": "qwen2_5_vl",
    "qwen3_vl_4b": "qwen3_vl",
    "qwen3_vl_8b": "qwen3_vl",
    "smollm2_135m_text": "llama",
    "step_by_step": "llava",
    "smolvlm2_2b": "idefics3",  # SmolVLM's own processor needs torchvision
    "tiny_cpu": "llava",
}
"""The family that stands in, tiny and random, for the model a recipe names."""
WITH_VIDEO = {"qwen2_5_vl", "qwen3_vl", "llava_onevision", "internvl"}
"""Their processors cannot be read from disk without torchvision, which has no CPU build."""


def documented_commands(path: Path) -> list[str]:
    """The commands in the comment that a file opens with: its lines indented by three."""
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    return re.findall(r"^#   (\S.*)$", head, re.MULTILINE)


def command_overrides(arguments: list[str]) -> list[str]:
    return [w for w in arguments if re.match(r"[a-z_.0-9]+=", w)]


def test_every_yaml_is_a_recipe_or_accelerate_config():
    distill_recipes = set((ROOT / "distill").rglob("*.yaml"))  # tests/distillation has them
    assert {*RECIPES, *CONFIGS} == set(ROOT.rglob("*.yaml")) - distill_recipes
    assert {p.stem for p in CONFIGS} == {"cpu", "one_gpu", "fsdp2"}
    assert recipe.recipe_names() == [p.stem for p in RECIPES]


def test_every_recipe_has_a_tiny_family():
    assert set(TINY_FAMILY_OF_RECIPE) >= {p.stem for p in RECIPES}
    assert set(TINY_FAMILY_OF_RECIPE) - {p.stem for p in RECIPES} <= {"builtin"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_is_valid_and_output_dir_has_its_name(path):
    loaded = recipe.load_recipe(path.stem)
    assert Path(loaded.output_dir).name == path.stem
    assert loaded.dev, "a recipe chooses its checkpoint on a dev split"
    assert re.search(r"^# Memory", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_lora_recipes_have_effective_batch_size_16(path):
    loaded = recipe.load_recipe(path.stem)
    if path.stem not in ("tiny_cpu", "practice_cpu", "builtin"):
        assert loaded.per_device_train_batch_size * loaded.gradient_accumulation_steps == 16


@pytest.mark.parametrize("path", [*RECIPES, *CONFIGS], ids=lambda p: p.stem)
def test_documented_commands_name_existing_files(path):
    commands_ = documented_commands(path)
    assert any("accelerate launch" in c for c in commands_)
    for command in commands_:
        arguments = shlex.split(command)
        for argument in arguments:
            if argument.startswith("finetune/"):
                assert (ROOT.parent / argument).is_file(), command
        name = (
            arguments[arguments.index("--recipe") + 1] if "--recipe" in arguments else arguments[2]
        )
        assert recipe.load_recipe(name, command_overrides(arguments)), command
        if path in RECIPES:
            assert name == path.stem


@pytest.mark.parametrize("path", [*RECIPES, *CONFIGS], ids=lambda p: p.stem)
def test_accelerate_parses_the_documented_commands(path):
    launch = pytest.importorskip("accelerate.commands.launch", reason="accelerate is absent")
    for command in documented_commands(path):
        if not command.startswith("accelerate launch"):
            continue
        arguments = shlex.split(command)[2:]
        arguments = [str(ROOT.parent / w) if w.startswith("finetune/") else w for w in arguments]
        parsed, config, _ = launch._validate_launch_command(
            launch.launch_command_parser().parse_args(arguments)
        )
        assert Path(parsed.training_script).name == "lora.py"
        assert parsed.num_processes == (2 if "--multi_gpu" in arguments else config.num_processes)


@pytest.mark.parametrize("name", ["tiny_cpu", "practice_cpu"])
def test_recipes_for_trying_out_say_what_their_metrics_are_worth(name):
    assert recipe.load_recipe(name).caveat


def test_cpu_config_uses_one_process():
    assert yaml.safe_load((ROOT / "accelerate" / "cpu.yaml").read_text("utf-8")) == {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO",
        "use_cpu": True,
        "num_machines": 1,
        "num_processes": 1,
    }


def test_fsdp2_config_creates_the_expected_plugin(monkeypatch):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is absent")
    from accelerate.utils.launch import prepare_multi_gpu_env

    for name, value in prepare_multi_gpu_env(_launch_arguments("fsdp2")).items():
        monkeypatch.setenv(name, value)
    plugin = accelerate.FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.activation_checkpointing is False


def _launch_arguments(config: str):
    from accelerate.commands import launch

    path = ROOT / "accelerate" / f"{config}.yaml"
    arguments = ["--config_file", str(path), "lora.py"]
    return launch._validate_launch_command(launch.launch_command_parser().parse_args(arguments))[0]


@pytest.mark.parametrize(
    ("key", "guess"),
    [("learning_rat", "learning_rate"), ("loss.labl", "label"), ("data.0.sorce", "source")],
)
def test_unknown_key_suggests_the_nearest(key, guess):
    with pytest.raises(UserError, match=f"unknown key '{key}': did you mean '{guess}'"):
        recipe.load_recipe("tiny_cpu", [f"{key}=1"])


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'tiny_cpu'"):
        recipe.load_recipe("tiny_cpi")


@pytest.mark.parametrize("where", ["data", "dev"])
@pytest.mark.parametrize("source", ["twitter2015:test", "mine/test.jsonl", "TEST.tsv"])
def test_test_split_is_rejected(where, source):
    with pytest.raises(UserError, match="never read while tuning"):
        recipe.load_recipe("tiny_cpu", [f"{where}=[{{source: '{source}'}}]"])


def test_train_and_dev_sources_are_disjoint():
    for name in set(recipe.recipe_names()) - {"tiny_cpu"}:
        loaded = recipe.load_recipe(name)
        assert not {d.source for d in loaded.data} & {d.source for d in loaded.dev}, name


@pytest.fixture(scope="module")
def save_tiny_model(tmp_path_factory):
    """A function: the folder of a tiny model of a family, saved as anyone would save it."""
    pytest.importorskip("peft", reason="peft is not installed")
    from tests.fixtures.tiny_models import tiny_model

    root, folders = tmp_path_factory.mktemp("models"), {}

    def save(family: str) -> Path:
        if family not in folders:
            tiny, folder = tiny_model(family), root / family
            tiny.model.save_pretrained(folder)
            parts = [tiny.processor]
            if family in WITH_VIDEO:
                parts = [tiny.processor.tokenizer, tiny.processor.image_processor]
            for part in parts:
                part.save_pretrained(folder)
            folders[family] = folder
        return folders[family]

    return save


@pytest.fixture
def patch_processor(monkeypatch):
    """A function: from now on a family's processor is the one at hand, as it cannot be read."""

    def use(family: str) -> None:
        import transformers

        from tests.fixtures.tiny_models import tiny_model

        if family in WITH_VIDEO:
            processor = tiny_model(family).processor
            monkeypatch.setattr(
                transformers.AutoProcessor, "from_pretrained", lambda *_, **__: processor
            )

    return use


def tiny_overrides(name: str, folder: Path, output: Path) -> list[str]:
    """Overrides that put a recipe on a tiny model and the shipped posts."""
    loaded = recipe.load_recipe(name)
    settings = [f"model_name_or_path={folder}", f"output_dir={output}", "device=cpu"]
    for part in ("data", "dev"):
        for i, source in enumerate(getattr(loaded, part)):
            for key, value in (("source", "tiny"), ("rationales", ""), ("limit", "4")):
                settings.append(f"{part}.{i}.{key}={value}")
            if "$GEN_MSA_DATA" in str(source.cues):
                settings.append(
                    f"{part}.{i}.cues={{}}"
                )  # files beside the source that was taken away
    return [*settings, "max_length=2048"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_dry_run_on_a_tiny_model(path, save_tiny_model, patch_processor, tmp_path, capfd):
    from gen_msa.finetuning import start

    family = TINY_FAMILY_OF_RECIPE[path.stem]
    if recipe.load_recipe(path.stem).quantization != "none":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    patch_processor(family)
    output = tmp_path / "adapter"
    start(path.stem, tiny_overrides(path.stem, save_tiny_model(family), output), dry_run=True)
    output_text = capfd.readouterr().err
    assert "train" in output_text
    assert "does not fit" not in output_text
    assert not output.exists(), "a dry run writes nothing"
