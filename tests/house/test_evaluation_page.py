"""The commands of docs/evaluation.md run in their order; its suite loads; its table is whole."""

import os
import re
from pathlib import Path

import pytest

import gen_msa as package
from gen_msa.evaluating.probing import probes
from gen_msa.metrics import metrics
from tests.evaluating.phones import example, save
from tests.fixtures.commands import run

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", PAGE, re.MULTILINE)
OWN = [c for c in COMMANDS if "twitter2015" not in c]
LABELS = ["positive", "neutral", "negative"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the page takes for granted: posts with gold, opinions, a suite."""
    gold = [example(i, LABELS[i % 3]) for i in range(9)]
    save(tmp_path / "posts.jsonl", gold)
    save(tmp_path / "dev.jsonl", gold[:2])
    save(tmp_path / "opinions.jsonl", [example(i, LABELS[i % 3], r=LABELS[0]) for i in range(9)])
    (suite,) = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(suite, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_on_own_posts_run_one_after_the_other(folder, monkeypatch, capfd):
    assert len(OWN) >= 5
    for command in OWN:
        more = ["limit=9"] if command.startswith("evaluate") else []
        run(command, monkeypatch, capfd, *more)
    for made in ("mine", "two", "suite"):
        assert (folder / "evaluations" / made / "report.html").stat().st_size > 1000
    assert "model-index" in (folder / "MODEL_CARD.md").read_text("utf-8")
    assert list((folder / "logs").rglob("*.json"))


@pytest.mark.models
@pytest.mark.skipif("GEN_MSA_DATA" not in os.environ, reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in OWN])
def test_the_shipped_suite_runs_with_the_builtin_reader(command, folder, monkeypatch, capfd):
    run(command, monkeypatch, capfd, "limit=3", "replicates=100", "-o", str(folder / "out"))
    report = (folder / "out" / "report.html").read_text("utf-8")
    assert "builtin" in report
    assert "TomBERT" in report


def test_the_tables_name_every_family_and_probe():
    table = PAGE[PAGE.index("| families |") :]
    named = set(re.findall(r"`(\w+)`", table))
    assert set(metrics.names()) <= named
    spoken = table.lower()
    assert all(p.replace("_", " ") in spoken for p in probes.names())
