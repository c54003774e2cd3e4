"""The commands of docs/finetuning.md run in order on a tiny model; its lines are valid posts."""

import re
import shlex
from pathlib import Path

import pytest

import gen_msa as package
from gen_msa import resources
from gen_msa.data import open_examples
from gen_msa.finetuning import recipe
from gen_msa.types import Example
from tests.fixtures.commands import run
from tests.fixtures.posts import write_image

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", PAGE, re.MULTILINE)
LAUNCHES = re.findall(r"^\$ ((?:accelerate|torchrun) .+)$", PAGE, re.MULTILINE)
LINES = re.findall(r"```json\n(.+?)\n```", PAGE, re.DOTALL)
BASE = "Qwen/Qwen2.5-VL-3B-Instruct"
QUICKLY = [
    "device=cpu",
    "dtype=float32",
    "bf16=false",
    "inference.cues={}",
    "max_steps=2",
    "gradient_accumulation_steps=1",
    "learning_rate=0.05",  # so that two steps change the adapted model's answers
]
"""On a tiny model the metrics mean nothing; the test is that every command works."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The page's own lines as posts.jsonl and dev.jsonl, and their image."""
    for name in ("posts.jsonl", "dev.jsonl"):
        (tmp_path / name).write_text("\n".join(LINES) + "\n", encoding="utf-8")
    write_image(tmp_path / "1.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(tmp_path):
    """A tiny vision-language model in a folder, as anyone would save it."""
    pytest.importorskip("peft", reason="peft is not installed")
    from tests.fixtures.tiny_models import tiny_model

    for part in tiny_model("idefics3"):
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_example_lines_are_posts_with_two_labels(folder):
    first, second = open_examples("posts.jsonl").rows()
    for row in (first, second):
        assert isinstance(row, Example)
        assert [o.polarity for o in row.opinions_by("gold")] == ["positive", "negative"]
        assert row.post.media
    assert all(o.explanation for o in second.opinions_by("gold"))


def test_commands_of_the_page_run_in_order(folder, model, monkeypatch, capfd):
    for command in COMMANDS:
        overrides = []
        if command.startswith("finetune"):
            overrides += [f"model_name_or_path={model}", *QUICKLY]
        if "tiny_cpu" in command:
            overrides += ["data.0.limit=4", "dev.0.limit=2"]
        run(command.replace(BASE, str(model)), monkeypatch, capfd, *overrides)
    for adapter in ("adapters/mine/adapter", "adapters/again/adapter", "adapters/both/adapter"):
        assert (folder / adapter / "adapter_model.safetensors").is_file(), adapter
    assert (folder / "opinions.jsonl").stat().st_size > 0


@pytest.mark.parametrize("command", LAUNCHES)
def test_launch_command_names_existing_files(command):
    arguments = shlex.split(command)
    for argument in arguments:
        if argument.startswith("finetune/"):
            assert (resources.resource_folder("finetune").parent / argument).is_file()
    name = arguments.index("--recipe") + 1
    assert recipe.load_recipe(arguments[name], arguments[name + 1 :])


def test_every_recipe_prompt_and_config_of_the_page_exists():
    code_spans = set(re.findall(r"`([\w./]+)`", PAGE))
    known_names = {*recipe.recipe_names(), *resources.resource_names("prompts", ".jinja")}
    assert {w for w in code_spans if w.startswith("predict/")} <= known_names
    assert {w for w in code_spans if "qlora" in w} <= known_names
    configs = {w for w in code_spans if w.endswith(".yaml")}
    assert configs <= {
        f"{n}.yaml" for n in resources.resource_names("finetune/accelerate", ".yaml")
    }
    assert LAUNCHES
    assert COMMANDS
