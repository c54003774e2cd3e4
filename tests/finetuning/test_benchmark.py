"""The fine-tuning benchmark: one lap on packaged posts with a tiny random model."""

import json
import os
import subprocess
import sys

import pytest

from tests.finetuning.run_recipes import ROOT, SUBPROCESS_ENV, save_tiny_model


def test_benchmark_measures_each_optimization(tmp_path):
    model = save_tiny_model(tmp_path / "model")
    command = [sys.executable, str(ROOT / "eval/bench/finetune.py"), "--quick"]
    command += ["--model", str(model), "--only", "answer_only_head|prefix_packing"]
    process = subprocess.run(
        command, env=os.environ | SUBPROCESS_ENV, capture_output=True, text=True, timeout=280
    )
    assert process.returncode == 0, process.stderr
    report = next(json.loads(s) for s in process.stdout.splitlines() if s.startswith("{"))
    names = [contender["name"] for contender in report["tasks"]]
    assert names == ["gen_msa", "answer_only_head off", "prefix_packing off"]
    assert len({contender["rows"] for contender in report["tasks"]}) == 1
    assert all(contender["rows_per_s"][0] > 0 for contender in report["tasks"])


def test_benchmark_help_lists_what_it_measures():
    command = [sys.executable, str(ROOT / "eval/bench/finetune.py"), "--help"]
    process = subprocess.run(
        command, env=os.environ | SUBPROCESS_ENV, capture_output=True, text=True
    )
    assert process.returncode == 0
    assert all(name in process.stdout for name in ("losses", "mams", "mvsa"))


@pytest.mark.extras
def test_trl_is_measured_on_the_same_rows(tmp_path):
    pytest.importorskip("trl", reason="trl is not installed: make test-extras")
    model = save_tiny_model(tmp_path / "model")
    command = [sys.executable, str(ROOT / "eval/bench/finetune.py"), "--quick"]
    command += ["--model", str(model), "--only", "TRL, padded|TRL, packed"]
    process = subprocess.run(
        command, env=os.environ | SUBPROCESS_ENV, capture_output=True, text=True, timeout=280
    )
    assert process.returncode == 0, process.stderr
    report = next(json.loads(s) for s in process.stdout.splitlines() if s.startswith("{"))
    ours, *peers = report["tasks"]
    names = {peer["name"] for peer in peers}
    assert {"TRL, padded", "TRL, packed to 512 tokens", "TRL, padded, sdpa"} <= names
    assert {peer["rows"] for peer in peers} == {ours["rows"]}
    assert all(peer["rows_per_s"][0] > 0 for peer in peers)
