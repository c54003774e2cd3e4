"""Test that the benchmark of explanation metrics runs for any family."""

import json
import subprocess
import sys
from pathlib import Path

import gen_msa

SCRIPT = Path(gen_msa.__file__).parent.parent / "eval/bench/explanations.py"


def run_benchmark(*arguments):
    command = [sys.executable, str(SCRIPT), "--quick", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[0])


def test_benchmark_measures_default_families_and_peers():
    families = run_benchmark()["families"]
    assert list(families) == ["bleu", "rouge", "chrf"]
    assert all(f["ours"] > 0 and f["peer"] > 0 and f["faster_by"] > 0 for f in families.values())


def test_benchmark_measures_named_families():
    families = run_benchmark("meteor", "cider")["families"]
    assert list(families) == ["meteor", "cider"]
    assert all(set(f) == {"ours"} for f in families.values())
