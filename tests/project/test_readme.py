"""The README's commands run, its example can be read, its Makefile targets exist."""

import re
from pathlib import Path

import pytest
from PIL import Image

import gen_msa as package
from gen_msa.data import open_examples
from gen_msa.predictors import names
from gen_msa.types import Example
from tests.fixtures.commands import run

ROOT = Path(package.__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL_COMMANDS = re.findall(r"^\$ gen-msa (.+)$", README, re.MULTILINE)
PAGES = {
    "finetune": "finetuning",
    "evaluate": "evaluation",
    "annotate": "distilling",
    "distill": "distilling",
    "serve": "serving",
}
"""Commands that need more than a post; the tests of their pages run them whole."""
COMMANDS = [c for c in ALL_COMMANDS if "adapters/" not in c and c.split()[0] not in PAGES]
EXAMPLE = re.search(r"```json\n(.+?)\n```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the README's own posts.jsonl."""
    assert EXAMPLE is not None
    (tmp_path / "posts.jsonl").write_text(EXAMPLE[1] + "\n", encoding="utf-8")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "1.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_has_at_least_two_commands():
    assert len(COMMANDS) >= 2


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_command_runs(command, folder, monkeypatch, capfd):
    run(command, monkeypatch, capfd, "--model", "echo")
    for name in re.findall(r"\S+\.(?:html|csv)", command):
        assert (folder / name).stat().st_size > 0


@pytest.mark.parametrize("command", [c for c in ALL_COMMANDS if c not in COMMANDS])
def test_other_commands_are_on_a_tested_page(command):
    # tests/project/test_*_page.py run every command of theirs.
    name = PAGES.get(command.split()[0], "finetuning")
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert f"$ gen-msa {command}\n" in page


def test_example_is_one_post_with_located_aspects(folder):
    (row,) = open_examples("posts.jsonl").rows()
    assert isinstance(row, Example)
    assert [(a.term, a.start) for a in row.post.aspects] == [("screen", 6), ("battery", 20)]


def test_every_model_of_the_table_exists():
    table_names = set(re.findall(r"^\| `(\w+)", README, re.MULTILINE))
    assert table_names >= {"builtin", "transformers", "http", "vllm", "recorded", "echo"}
    assert table_names <= set(names())


def test_every_named_make_target_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets


def test_every_image_of_the_readme_exists():
    assert all((ROOT / p).is_file() for p in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))
