"""Same input, same bytes: for any hash seed."""

import hashlib
import os
import subprocess
import sys

from tests.fixtures.posts import post, write_posts


def test_output_is_independent_of_hash_seed(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(100)))
    digests = set()
    for seed in ("0", "1", "42"):
        out = tmp_path / f"{seed}.jsonl"
        command = [
            sys.executable,
            "-m",
            "gen_msa",
            "explain",
            str(path),
            "-m",
            "echo",
            "-o",
            str(out),
        ]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, env=env, check=True, capture_output=True)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1
