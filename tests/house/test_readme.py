"""The README's commands run, its example can be read, its Makefile targets exist."""

import re
from pathlib import Path

import pytest

import gen_msa as package
from gen_msa.data import open_source
from gen_msa.readers import names
from gen_msa.types import Example
from tests.fixtures.commands import run

ROOT = Path(package.__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVERY = re.findall(r"^\$ gen-msa (.+)$", README, re.MULTILINE)
PAGES = {
    "finetune": "finetuning",
    "evaluate": "evaluation",
    "annotate": "distilling",
    "distill": "distilling",
    "serve": "serving",
}
"""Commands that need more than a post; the tests of their pages run them whole."""
COMMANDS = [c for c in EVERY if "adapters/" not in c and c.split()[0] not in PAGES]
EXAMPLE = re.search(r"```json\n(.+?)\n```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the README's own posts.jsonl."""
    assert EXAMPLE is not None
    (tmp_path / "posts.jsonl").write_text(EXAMPLE[1] + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_two_commands():
    assert len(COMMANDS) >= 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command, folder, monkeypatch, capfd):
    run(command, monkeypatch, capfd, "--reader", "echo")
    for name in re.findall(r"\S+\.(?:html|csv)", command):
        assert (folder / name).stat().st_size > 0


@pytest.mark.parametrize("command", [c for c in EVERY if c not in COMMANDS])
def test_a_command_that_needs_more_is_one_of_a_page_that_is_run_whole(command):
    # tests/house/test_*_page.py run every command of theirs.
    name = PAGES.get(command.split()[0], "finetuning")
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert f"$ gen-msa {command}\n" in page


def test_the_example_is_one_post_with_its_aspects_found(folder):
    (row,) = open_source("posts.jsonl").rows()
    assert isinstance(row, Example)
    assert [(a.term, a.start) for a in row.post.aspects] == [("screen", 6), ("battery", 20)]


def test_every_reader_of_the_table_exists():
    listed = set(re.findall(r"^\| `(\w+)", README, re.MULTILINE))
    assert listed >= {"builtin", "transformers", "http", "vllm", "file", "echo"}
    assert listed <= set(names())


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets


def test_every_picture_of_the_readme_is_there():
    assert all((ROOT / p).is_file() for p in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))
