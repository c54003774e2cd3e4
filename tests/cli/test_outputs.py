"""Outputs never overwrite the input, a folder or each other; a full disk is reported."""

import json
import resource
import signal
import subprocess
import sys

import pytest

from gen_msa.answer_cache import AnswerCache
from tests.fixtures.posts import post, write_posts

POSTS = 200
PLAIN = ("-m", "echo", "cues={}", "chunk=4")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("ending", [".rejected.jsonl", ".settings.yaml", ".summary.json"])
@pytest.mark.parametrize("verb", ["explain", "annotate"])
def test_files_beside_the_output_do_not_overwrite_the_input(gen_msa, folder, verb, ending):
    posts = (folder / "posts.jsonl").rename(folder / f"q{ending}")
    before = posts.read_bytes()
    more = ("-p", "teacher/rationale") if verb == "annotate" else ()
    completed = gen_msa(verb, posts.name, *PLAIN, *more, "--format", "jsonl", "-o", "q.jsonl")
    assert completed.code == 2
    assert "is both input and output" in completed.err
    assert posts.read_bytes() == before


@pytest.mark.parametrize(
    "more",
    [
        ("--csv", "o.jsonl"),
        ("--csv", "o.cache"),
        ("--html", "o.rejected.jsonl"),
        ("--csv", "x", "--html", "./x"),
    ],
)
def test_two_outputs_need_two_files(gen_msa, folder, more):
    completed = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl", *more)
    assert completed.code == 2
    assert "would be written twice" in completed.err
    assert [p.name for p in folder.iterdir()] == ["posts.jsonl"]


def test_folder_as_output_is_rejected(gen_msa, folder):
    (folder / "o.jsonl").mkdir()
    completed = gen_msa("explain", "posts.jsonl", *PLAIN, "-o", "o.jsonl")
    assert (completed.code, "is a folder" in completed.err) == (2, True)


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_no_space_to_unpack_the_language_model_is_reported(folder):
    command = [sys.executable, "-m", "gen_msa", "explain", "posts.jsonl", *PLAIN]
    failed = subprocess.run(
        [*command, "-o", "o.jsonl"],
        preexec_fn=limit_file_size,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 2
    assert "the model that detects languages cannot be unpacked" in failed.stderr
    assert "language=en" in failed.stderr


def test_full_disk_is_reported_and_the_next_run_resumes(folder):
    command = [sys.executable, "-m", "gen_msa", "explain", "posts.jsonl", *PLAIN, "language=en"]
    command += ["-o", "o.jsonl"]
    run_options = {"cwd": folder, "capture_output": True, "text": True, "timeout": 60}
    failed = subprocess.run(command, preexec_fn=limit_file_size, **run_options)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert "hint: free disk space" in failed.stderr
    assert not (folder / "o.jsonl").exists()
    with AnswerCache(folder / "o.cache") as cache:
        n_cached = len(cache)
    assert 0 < n_cached < POSTS
    rerun = subprocess.run(command, **run_options)
    assert rerun.returncode == 0, rerun.stderr
    assert f"{n_cached} posts answered from the cache" in rerun.stderr
    rows = [json.loads(line) for line in (folder / "o.jsonl").read_text().splitlines()]
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(POSTS)]
