"""No output falls on what is read, on another output or on a folder; a full disk is said so."""

import json
import resource
import signal
import subprocess
import sys

import pytest

from gen_msa.ledger import Ledger
from tests.fixtures.posts import post, write_posts

POSTS = 200
PLAIN = ("-r", "echo", "cues={}", "chunk=4")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("ending", [".rejected.jsonl", ".settings.yaml", ".summary.json"])
@pytest.mark.parametrize("verb", ["explain", "annotate"])
def test_posts_are_not_written_over_by_what_lies_beside_an_output(gen_msa, folder, verb, ending):
    posts = (folder / "posts.jsonl").rename(folder / f"q{ending}")
    before = posts.read_bytes()
    more = ("-p", "teacher/rationale") if verb == "annotate" else ()
    ran = gen_msa(verb, posts.name, *PLAIN, *more, "--format", "jsonl", "-o", "q.jsonl")
    assert ran.code == 2
    assert "would be read and written over" in ran.err
    assert posts.read_bytes() == before


@pytest.mark.parametrize(
    "more",
    [
        ("--csv", "o.jsonl"),
        ("--csv", "o.ledger"),
        ("--html", "o.rejected.jsonl"),
        ("--csv", "x", "--html", "./x"),
    ],
)
def test_two_outputs_are_two_files(gen_msa, folder, more):
    ran = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl", *more)
    assert ran.code == 2
    assert "would be written twice" in ran.err
    assert [p.name for p in folder.iterdir()] == ["posts.jsonl"]


def test_a_folder_is_no_output(gen_msa, folder):
    (folder / "o.jsonl").mkdir()
    ran = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl")
    assert (ran.code, "is a folder" in ran.err) == (2, True)


def test_a_full_disk_is_said_in_words_and_the_next_run_goes_on(folder):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    command = [sys.executable, "-m", "gen_msa", "explain", "posts.jsonl", *PLAIN]
    command += ["-o", "o.jsonl"]
    told = {"cwd": folder, "capture_output": True, "text": True, "timeout": 60}
    full = subprocess.run(command, preexec_fn=small, **told)
    assert full.returncode == 2
    assert "Traceback" not in full.stderr
    assert "mend: make room" in full.stderr
    assert not (folder / "o.jsonl").exists()
    with Ledger(folder / "o.ledger") as book:
        kept = len(book)
    assert 0 < kept < POSTS
    again = subprocess.run(command, **told)
    assert again.returncode == 0, again.stderr
    assert f"{kept} posts answered from the ledger" in again.stderr
    rows = [json.loads(line) for line in (folder / "o.jsonl").read_text().splitlines()]
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(POSTS)]
