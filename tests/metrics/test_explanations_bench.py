"""The bench of explanation measures runs, and measures whatever family is named."""

import json
import subprocess
import sys
from pathlib import Path

import gen_msa

BENCH = Path(gen_msa.__file__).parent.parent / "eval/bench/explanations.py"


def told(*arguments):
    command = [sys.executable, str(BENCH), "--quick", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0])


def test_the_bench_measures_each_family_and_its_peer():
    found = told()["families"]
    assert list(found) == ["bleu", "rouge", "chrf"]
    assert all(f["ours"] > 0 and f["peer"] > 0 and f["faster_by"] > 0 for f in found.values())


def test_the_bench_measures_a_family_that_is_named():
    found = told("meteor", "cider")["families"]
    assert list(found) == ["meteor", "cider"]
    assert all(set(f) == {"ours"} for f in found.values())
