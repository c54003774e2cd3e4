"""The bench of the bootstrap runs, and its peers find the same intervals."""

import json
import subprocess
import sys
from pathlib import Path

import gen_msa

BENCH = Path(gen_msa.__file__).parent.parent / "eval/bench/bootstrap.py"


def test_the_bench_measures_ours_and_both_peers_and_they_agree():
    done = subprocess.run(
        [sys.executable, str(BENCH), "--quick"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["cpu_seconds"]) == {"ours", "scipy.stats.bootstrap", "numpy loop"}
    assert all(s > 0 for s in told["cpu_seconds"].values())
    assert told["readers"] == 5
    assert told["largest_gap_to_scipy"] < 0.1  # 200 replicates
