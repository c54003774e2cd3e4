"""Every shipped recipe and accelerate config: valid, named rightly, and dry-run on its family."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from gen_msa import shipped
from gen_msa.errors import UserError
from gen_msa.finetuning import recipe

ROOT = shipped.folder("finetune")
RECIPES = sorted((ROOT / "lora").rglob("*.yaml"))
CONFIGS = sorted((ROOT / "accelerate").rglob("*.yaml"))
FAMILY_OF = {
    "builtin": "llava",
    "gemma3_4b": "gemma3",
    "internvl3_2b": "internvl",
    "llava_onevision_7b": "llava_onevision",
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


def commands(path: Path) -> list[str]:
    """The commands in the comment that a file opens with: its lines indented by three."""
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    return re.findall(r"^#   (\S.*)$", head, re.MULTILINE)


def overrides(words: list[str]) -> list[str]:
    return [w for w in words if re.match(r"[a-z_.0-9]+=", w)]


def test_every_yaml_is_a_recipe_or_an_accelerate_config():
    students = set((ROOT / "distill").rglob("*.yaml"))  # tests/distilling has them
    assert {*RECIPES, *CONFIGS} == set(ROOT.rglob("*.yaml")) - students
    assert {p.stem for p in CONFIGS} == {"cpu", "one_gpu", "fsdp2"}
    assert recipe.names() == [p.stem for p in RECIPES]


def test_the_table_of_families_has_every_recipe_and_no_other():
    assert set(FAMILY_OF) >= {p.stem for p in RECIPES}
    assert set(FAMILY_OF) - {p.stem for p in RECIPES} <= {"builtin"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_valid_and_writes_to_a_folder_of_its_own_name(path):
    found = recipe.load(path.stem)
    assert Path(found.output_dir).name == path.stem
    assert found.dev, "a recipe chooses its checkpoint on a dev split"
    assert re.search(r"^# Memory", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_lora_recipes_have_an_effective_batch_of_16(path):
    found = recipe.load(path.stem)
    if path.stem not in ("tiny_cpu", "builtin"):
        assert found.per_device_train_batch_size * found.gradient_accumulation_steps == 16


@pytest.mark.parametrize("path", [*RECIPES, *CONFIGS], ids=lambda p: p.stem)
def test_the_commands_a_file_opens_with_name_what_exists(path):
    found = commands(path)
    assert any("accelerate launch" in c for c in found)
    for command in found:
        words = shlex.split(command)
        for word in words:
            if word.startswith("finetune/"):
                assert (ROOT.parent / word).is_file(), command
        name = words[words.index("--recipe") + 1] if "--recipe" in words else words[2]
        assert recipe.load(name, overrides(words)), command
        if path in RECIPES:
            assert name == path.stem


@pytest.mark.parametrize("path", [*RECIPES, *CONFIGS], ids=lambda p: p.stem)
def test_accelerate_understands_the_commands_with_their_configs(path):
    launch = pytest.importorskip("accelerate.commands.launch", reason="accelerate is absent")
    for command in commands(path):
        if not command.startswith("accelerate launch"):
            continue
        given = shlex.split(command)[2:]
        given = [str(ROOT.parent / w) if w.startswith("finetune/") else w for w in given]
        asked, config, _ = launch._validate_launch_command(
            launch.launch_command_parser().parse_args(given)
        )
        assert Path(asked.training_script).name == "lora.py"
        assert asked.num_processes == (2 if "--multi_gpu" in given else config.num_processes)


def test_cpu_config_is_one_process_because_accelerate_starts_no_more():
    assert yaml.safe_load((ROOT / "accelerate" / "cpu.yaml").read_text("utf-8")) == {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO",
        "use_cpu": True,
        "num_machines": 1,
        "num_processes": 1,
    }


def test_fsdp2_config_makes_the_plugin_it_means(monkeypatch):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is absent")
    from accelerate.utils.launch import prepare_multi_gpu_env

    for name, value in prepare_multi_gpu_env(_launched("fsdp2")).items():
        monkeypatch.setenv(name, value)
    plugin = accelerate.FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.activation_checkpointing is False


def _launched(config: str):
    from accelerate.commands import launch

    path = ROOT / "accelerate" / f"{config}.yaml"
    given = ["--config_file", str(path), "lora.py"]
    return launch._validate_launch_command(launch.launch_command_parser().parse_args(given))[0]


@pytest.mark.parametrize(
    ("key", "guess"),
    [("learning_rat", "learning_rate"), ("loss.labl", "label"), ("data.0.sorce", "source")],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(key, guess):
    with pytest.raises(UserError, match=f"unknown key '{key}': did you mean '{guess}'"):
        recipe.load("tiny_cpu", [f"{key}=1"])


def test_an_unknown_recipe_is_named_with_the_nearest_known_one():
    with pytest.raises(UserError, match="did you mean 'tiny_cpu'"):
        recipe.load("tiny_cpi")


@pytest.mark.parametrize("where", ["data", "dev"])
@pytest.mark.parametrize("source", ["twitter2015:test", "mine/test.jsonl", "TEST.tsv"])
def test_a_test_split_is_refused(where, source):
    with pytest.raises(UserError, match="never read while tuning"):
        recipe.load("tiny_cpu", [f"{where}=[{{source: '{source}'}}]"])


def test_no_shipped_recipe_reads_a_corpus_twice_for_training_and_choosing():
    for name in set(recipe.names()) - {"tiny_cpu"}:
        found = recipe.load(name)
        assert not {d.source for d in found.data} & {d.source for d in found.dev}, name


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function: the folder of a tiny model of a family, saved as anyone would save it."""
    pytest.importorskip("peft", reason="peft is not installed")
    from tests.fixtures.tiny_models import tiny_model

    root, made = tmp_path_factory.mktemp("models"), {}

    def save(family: str) -> Path:
        if family not in made:
            tiny, folder = tiny_model(family), root / family
            tiny.model.save_pretrained(folder)
            parts = [tiny.processor]
            if family in WITH_VIDEO:
                parts = [tiny.processor.tokenizer, tiny.processor.image_processor]
            for part in parts:
                part.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return save


@pytest.fixture
def processors(monkeypatch):
    """A function: from now on a family's processor is the one at hand, as it cannot be read."""

    def use(family: str) -> None:
        import transformers

        from tests.fixtures.tiny_models import tiny_model

        if family in WITH_VIDEO:
            found = tiny_model(family).processor
            monkeypatch.setattr(
                transformers.AutoProcessor, "from_pretrained", lambda *_, **__: found
            )

    return use


def on_tiny(name: str, folder: Path, output: Path) -> list[str]:
    """Overrides that put a recipe on a tiny model and the shipped posts."""
    found = recipe.load(name)
    given = [f"model_name_or_path={folder}", f"output_dir={output}", "device=cpu"]
    for part in ("data", "dev"):
        for i, one in enumerate(getattr(found, part)):
            for key, value in (("source", "tiny"), ("reasons", ""), ("limit", "4")):
                given.append(f"{part}.{i}.{key}={value}")
            if "$GEN_MSA_DATA" in str(one.cues):
                given.append(f"{part}.{i}.cues={{}}")  # files beside the source that was taken away
    return [*given, "max_length=2048"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_dry_run_on_a_tiny_model_of_its_family(
    path, saved, processors, tmp_path, capfd
):
    from gen_msa.finetuning.__main__ import start

    family = FAMILY_OF[path.stem]
    if recipe.load(path.stem).quantization != "none":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    processors(family)
    output = tmp_path / "adapter"
    start(path.stem, on_tiny(path.stem, saved(family), output), dry_run=True)
    said = capfd.readouterr().err
    assert "train" in said
    assert "does not fit" not in said
    assert not output.exists(), "a dry run writes nothing"
