"""kill -9 in shards, and on with another sharding: the bytes of one undisturbed job.

GEN_MSA_KILLS sets how many kills each sharding has to stand (3).
"""

import multiprocessing
import os
import random
import signal
import time

import pytest

from gen_msa.annotating import JobSettings, Shard, annotate, annotate_shard, merge, prepared
from gen_msa.data import open_source
from gen_msa.ledger import gather
from tests.annotating.test_kill import answered
from tests.fixtures.posts import post, write_posts

KILLS = int(os.environ.get("GEN_MSA_KILLS", "3"))
POSTS = 600
ECHO = JobSettings(reader="echo", chunk=4, cues={})


@pytest.fixture
def job(tmp_path):
    """A shard's job in a process of its own; forked, so that many cost little."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    source = open_source(str(write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))))
    teacher = prepared(source, ECHO)

    def start(shard, out, known):
        part, ledger = shard.beside(out, ".part"), shard.beside(out, ".ledger")
        more = {"ledger_path": ledger, "known": known, "teacher": teacher}
        process = multiprocessing.get_context("fork").Process(
            target=annotate_shard, args=(source, part, shard, ECHO), kwargs=more
        )
        process.start()
        return process, part, ledger

    annotate(source, tmp_path / "whole.jsonl", ECHO, teacher=teacher)
    return start


@pytest.mark.parametrize("of", [1, 2, 3, 4])
def test_kills_in_every_shard_and_another_sharding_leave_the_bytes_of_one_job(tmp_path, job, of):
    chance = random.Random(of)
    whole, kills = (tmp_path / "whole.jsonl").read_bytes(), 0
    for i in range(KILLS):
        shard = Shard(i % of + 1, of)
        had = answered(shard.beside(tmp_path / "killed.jsonl", ".ledger"))
        process, part, ledger = job(shard, tmp_path / "killed.jsonl", [])
        while answered(ledger) < had + 8 and process.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert part.exists() == (process.exitcode == 0)
    assert kills > 0
    ledgers = sorted(tmp_path.glob("killed.*.ledger"))
    known, other = tmp_path / "known.ledger", of % 4 + 1
    kept = gather(ledgers, known)
    assert kept == sum(map(answered, ledgers)) > 0
    parts = []
    for i in range(1, other + 1):
        process, part, _ = job(Shard(i, other), tmp_path / "again.jsonl", [known])
        process.join()
        assert process.exitcode == 0
        parts.append(part)
    outcome, _ = merge(parts, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == whole
    assert outcome.counts.repeated == kept
