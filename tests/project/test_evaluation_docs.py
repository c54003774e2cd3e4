"""The commands of docs/evaluation.md run in their order; its suite loads; its table is whole."""

import os
import re
from pathlib import Path

import pytest

import gen_msa as package
from gen_msa.evaluation.probes import probes
from gen_msa.metrics import metrics
from tests.evaluation.phone_examples import example, write_examples
from tests.fixtures.commands import run

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", PAGE, re.MULTILINE)
OWN_POSTS_COMMANDS = [c for c in COMMANDS if "twitter2015" not in c]
LABELS = ["positive", "neutral", "negative"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the page takes for granted: posts with gold, opinions, a suite."""
    gold = [example(i, LABELS[i % 3]) for i in range(9)]
    write_examples(tmp_path / "posts.jsonl", gold)
    write_examples(tmp_path / "dev.jsonl", gold[:2])
    write_examples(
        tmp_path / "opinions.jsonl", [example(i, LABELS[i % 3], r=LABELS[0]) for i in range(9)]
    )
    (suite,) = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(suite, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_on_own_posts_run_in_order(folder, monkeypatch, capfd):
    assert len(OWN_POSTS_COMMANDS) >= 5
    for command in OWN_POSTS_COMMANDS:
        more = ["limit=9"] if command.startswith("evaluate") else []
        run(command, monkeypatch, capfd, *more)
    for stem in ("mine", "two", "suite"):
        assert (folder / "evaluations" / stem / "report.html").stat().st_size > 1000
    assert "model-index" in (folder / "MODEL_CARD.md").read_text("utf-8")
    assert list((folder / "logs").rglob("*.json"))


@pytest.mark.models
@pytest.mark.skipif("GEN_MSA_DATA" not in os.environ, reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in OWN_POSTS_COMMANDS])
def test_default_suite_runs_with_the_builtin_model(command, folder, monkeypatch, capfd):
    more = ("limit=3", "replicates=100", "-o", str(folder / "out"))
    # 3: the tweets' images are not part of the data.
    run(command, monkeypatch, capfd, *more, codes=(None, 0, 3))
    report = (folder / "out" / "report.html").read_text("utf-8")
    assert "builtin" in report
    assert "TomBERT" in report


SHIPPED_METRICS = {
    "labels",
    "calibration",
    "joint",
    "bleu",
    "rouge",
    "meteor",
    "cider",
    "grounding",
}


def test_table_names_the_main_metrics_and_every_probe():
    """A new metric needs no edit of the page; `gen-msa ls metrics` lists it."""
    table = PAGE[PAGE.index("| families |") :]
    metric_names = set(re.findall(r"`(\w+)`", table))
    assert metric_names >= SHIPPED_METRICS
    assert set(metrics.names()) >= SHIPPED_METRICS
    table_text = table.lower()
    assert all(p.replace("_", " ") in table_text for p in probes.names())
