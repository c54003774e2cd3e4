"""The commands of the section Annotating of docs/distilling.md run; its tables are complete."""

import os
import re
from pathlib import Path

import pytest

import gen_msa as package
from gen_msa import prompting
from gen_msa.annotation.filters import filters
from tests.fixtures.commands import run
from tests.fixtures.posts import post, write_posts

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "distilling.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Annotating\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^\$ gen-msa (annotate .+)$", SECTION, re.MULTILINE)
OWN_POSTS_COMMANDS = [c for c in COMMANDS if "twitter2015" not in c]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(6)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_on_own_posts_run_in_order(folder, monkeypatch, capfd):
    assert len(OWN_POSTS_COMMANDS) == 3
    for command in OWN_POSTS_COMMANDS:
        run(command, monkeypatch, capfd)
    for stem in ("teacher", "raw", "filtered"):
        assert len((folder / f"{stem}.jsonl").read_bytes().splitlines()) == 6
        assert (folder / f"{stem}.summary.json").is_file()


@pytest.mark.skipif("GEN_MSA_DATA" not in os.environ, reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in OWN_POSTS_COMMANDS])
def test_command_on_recorded_rationales_runs(command, folder, monkeypatch, capfd):
    run(command, monkeypatch, capfd)
    assert (folder / "minigpt4.rejected.jsonl").stat().st_size > 100_000


def test_table_names_every_filter_and_its_options():
    lines = dict(re.findall(r"^\| `(\w+)` \|(.+)$", SECTION, re.MULTILINE))
    assert sorted(lines) == filters.names()
    for name in (
        "mentions_aspect",
        "length",
        "verbatim_quotes",
        "grounded",
        "objects",
        "plain_prose",
        "self_consistency",
        "near_duplicate",
    ):
        options = lines[name].rpartition(" | ")[2]
        assert set(re.findall(r"`(\w+)`", options)) == set(filters[name].Options.model_fields)


def test_every_teacher_prompt_that_asks_for_a_label_is_listed():
    teacher_prompts = {
        p for p in prompting.prompt_names() if p.startswith("teacher/") and "_guided" not in p
    }
    assert teacher_prompts == set(re.findall(r"`(teacher/\w+)`", SECTION))
