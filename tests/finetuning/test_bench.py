"""The bench of fine-tuning runs: one lap on shipped posts with a tiny random model."""

import json
import os
import subprocess
import sys

from tests.finetuning.running import ROOT, SPEAKS, base


def test_the_bench_measures_each_of_our_levers(tmp_path):
    model = base(tmp_path / "model")
    command = [sys.executable, str(ROOT / "eval/bench/finetune.py"), "--quick"]
    command += ["--model", str(model), "--only", "labelled_head|branches"]
    done = subprocess.run(
        command, env=os.environ | SPEAKS, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    told = next(json.loads(s) for s in done.stdout.splitlines() if s.startswith("{"))
    names = [one["name"] for one in told["contenders"]]
    assert names == ["gen_msa", "labelled_head off", "branches off"]
    assert len({one["rows"] for one in told["contenders"]}) == 1
    assert all(one["rows_per_s"][0] > 0 for one in told["contenders"])


def test_the_bench_names_what_it_measures_when_asked_for_help():
    command = [sys.executable, str(ROOT / "eval/bench/finetune.py"), "--help"]
    done = subprocess.run(command, env=os.environ | SPEAKS, capture_output=True, text=True)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("losses", "mams", "mvsa"))
