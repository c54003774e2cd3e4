"""Answers are stored once, reused from older files, and survive a killed process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gen_msa.answer_cache import AnswerCache, hash_key
from gen_msa.errors import UserError


def test_first_value_of_a_key_wins(tmp_path):
    with AnswerCache(tmp_path / "a.cache") as cache:
        cache.put({hash_key({"n": i}): {"n": i} for i in range(2_000)})
        cache.put({hash_key({"n": 7}): {"n": "another"}})
        answers = cache.get([hash_key({"n": 7}), hash_key({"n": 1_999}), hash_key({"n": 5_000})])
        assert answers == {hash_key({"n": 7}): {"n": 7}, hash_key({"n": 1_999}): {"n": 1_999}}
        assert len(cache) == 2_000


def test_hash_key_depends_on_names_and_values_not_order():
    assert hash_key({"a": 1, "b": 2}) == hash_key({"b": 2, "a": 1})
    assert (
        len(
            {
                hash_key({"a": 1}),
                hash_key({"a": "1"}),
                hash_key({"b": 1}),
                hash_key({"a": [1]}),
                hash_key({}),
            }
        )
        == 5
    )


def test_invalid_cache_file_is_named(tmp_path):
    (tmp_path / "x").write_text("not a database, but long enough to be looked at " * 20)
    with pytest.raises(UserError, match="cannot be used as an answer cache"):
        AnswerCache(tmp_path / "x")


def test_damaged_answer_error_names_the_file(tmp_path):
    path = tmp_path / "a.cache"
    with AnswerCache(path) as cache:
        cache.put({"k": 1})
        cache._db.execute("UPDATE answers SET value = x'00ff'")
        with pytest.raises(UserError, match=r"a\.cache is damaged"):
            cache.get(["k"])


def test_reuse_cache_may_be_in_a_read_only_folder(tmp_path, monkeypatch):
    path = tmp_path / "old.cache"
    with AnswerCache(path) as cache:
        cache.put({"k": 1})
    monkeypatch.setattr("gen_msa.answer_cache.os.access", lambda *_: False)
    before = sorted(tmp_path.iterdir())
    with AnswerCache(tmp_path / "new" / "a.cache", [path]) as cache:
        assert cache.get(["k"]) == {"k": 1}
        assert sorted(p for p in tmp_path.iterdir() if p.name != "new") == before


WRITER = """
import sys
from pathlib import Path
from gen_msa.answer_cache import AnswerCache, hash_key
with AnswerCache(Path(sys.argv[1])) as cache:
    for i in range(int(sys.argv[2]), int(sys.argv[2]) + 300):
        cache.put({hash_key({"n": i}): i})
        print(i, flush=True)
"""


def test_several_processes_write_one_cache(tmp_path):
    path = tmp_path / "a.cache"
    command = [sys.executable, "-c", WRITER, str(path)]
    jobs = [subprocess.Popen([*command, str(i * 200)], stdout=subprocess.DEVNULL) for i in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    with AnswerCache(path) as cache:
        assert len(cache) == 700


def test_put_answers_survive_a_kill(tmp_path: Path):
    path = tmp_path / "a.cache"
    command = [sys.executable, "-c", WRITER, str(path), "0"]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    reported = [int(job.stdout.readline()) for _ in range(100)]
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    with AnswerCache(path) as cache:
        keys = [hash_key({"n": i}) for i in reported]
        assert sorted(cache.get(keys).values()) == reported
