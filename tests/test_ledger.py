import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.ledger import Ledger, key


def test_what_is_put_is_had_and_the_first_value_stays(tmp_path):
    with Ledger(tmp_path / "a.ledger") as book:
        book.put({key({"n": i}): {"n": i} for i in range(2_000)})
        book.put({key({"n": 7}): {"n": "another"}})
        known = book.get([key({"n": 7}), key({"n": 1_999}), key({"n": 5_000})])
        assert known == {key({"n": 7}): {"n": 7}, key({"n": 1_999}): {"n": 1_999}}
        assert len(book) == 2_000


def test_the_key_minds_names_and_values_but_not_their_order():
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert len({key({"a": 1}), key({"a": "1"}), key({"b": 1}), key({"a": [1]}), key({})}) == 5


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    (tmp_path / "x").write_text("not a database, but long enough to be looked at " * 20)
    with pytest.raises(UserError, match="cannot be used as a ledger"):
        Ledger(tmp_path / "x")


def test_a_damaged_answer_is_said_with_its_file(tmp_path):
    path = tmp_path / "a.ledger"
    with Ledger(path) as book:
        book.put({"k": 1})
        book._db.execute("UPDATE answers SET value = x'00ff'")
        with pytest.raises(UserError, match=r"a\.ledger is damaged"):
            book.get(["k"])


def test_a_known_ledger_may_lie_where_nothing_can_be_written(tmp_path, monkeypatch):
    path = tmp_path / "old.ledger"
    with Ledger(path) as book:
        book.put({"k": 1})
    monkeypatch.setattr("gen_msa.ledger.os.access", lambda *_: False)
    before = sorted(tmp_path.iterdir())
    with Ledger(tmp_path / "new" / "a.ledger", [path]) as book:
        assert book.get(["k"]) == {"k": 1}
        assert sorted(p for p in tmp_path.iterdir() if p.name != "new") == before


WRITER = """
import sys
from pathlib import Path
from gen_msa.ledger import Ledger, key
with Ledger(Path(sys.argv[1])) as book:
    for i in range(int(sys.argv[2]), int(sys.argv[2]) + 300):
        book.put({key({"n": i}): i})
        print(i, flush=True)
"""


def test_several_processes_write_one_ledger(tmp_path):
    path = tmp_path / "a.ledger"
    command = [sys.executable, "-c", WRITER, str(path)]
    jobs = [subprocess.Popen([*command, str(i * 200)], stdout=subprocess.DEVNULL) for i in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    with Ledger(path) as book:
        assert len(book) == 700


def test_what_was_put_survives_a_kill(tmp_path: Path):
    path = tmp_path / "a.ledger"
    command = [sys.executable, "-c", WRITER, str(path), "0"]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    reported = [int(job.stdout.readline()) for _ in range(100)]
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    with Ledger(path) as book:
        keys = [key({"n": i}) for i in reported]
        assert sorted(book.get(keys).values()) == reported
