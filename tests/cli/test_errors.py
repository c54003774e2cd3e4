"""Errors of the system, of parsers and of libraries end a command with one message, no traceback.

Outputs are checked before any work; damaged inputs, caches and models are named with a hint.
"""

import ctypes
import json
import re
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from gen_msa import manifest
from gen_msa.models.inference.serialization import save_student
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import make_collator, make_student

ECHO = ("-m", "echo", "cues={}", "language=en")
DEEP = "[" * 200_000


def drop_root_rights() -> None:
    """Let permissions hold for root too, as they do for every other user."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gen_msa", *arguments],
        cwd=cwd,
        preexec_fn=drop_root_rights,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(3)))
    (tmp_path / "locked").mkdir()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_reported(code: int, err: str, *parts: str) -> None:
    assert "Traceback" not in err
    assert code in (2, 3), err
    assert "\n  hint: " in err
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "posts.jsonl", *ECHO, "-o", "locked/o.jsonl"),
        ("explain", "posts.jsonl", *ECHO, "-o", "o.jsonl", "--csv", "locked/o.csv"),
        ("explain", "posts.jsonl", *ECHO, "--html", "locked/new/o.html"),
        ("explain", "posts.jsonl", *ECHO, "--shard", "1/2", "-o", "locked/o.jsonl"),
        ("annotate", "posts.jsonl", *ECHO, "-o", "locked/o.jsonl"),
        ("convert", "posts.jsonl", "locked/o.csv"),
        ("merge", "posts.jsonl", "-o", "locked/o.jsonl"),
        ("merge", "posts.jsonl", "-o", "locked/o.cache"),
        ("leakage", "posts.jsonl", "posts.jsonl", "-o", "locked/o.json"),
        ("cp", "predict/full", "locked/full.jinja"),
        ("export-log", "results.json", "-o", "locked/logs"),
        ("evaluate", "tiny:all", "-m", "echo", "-o", "locked/e"),
        ("evaluate", "tiny:all", "-m", "echo", "-o", "e", "--card", "locked/README.md"),
        ("finetune", "tiny_cpu", "output_dir=locked/a"),
        ("distill", "text", "output_dir=locked/s"),
    ],
)
def test_output_without_permission_is_reported_before_any_work(folder, command):
    (folder / "locked").chmod(0o500)
    completed = run(*command, cwd=folder)
    assert_reported(completed.returncode, completed.stderr, "locked", "ermission")
    assert not (folder / "o.jsonl").exists()
    assert not (folder / "o.cache").exists()
    assert not list(folder.glob("e/systems"))


def test_input_without_permission_is_reported(folder):
    (folder / "posts.jsonl").chmod(0o000)
    completed = run("explain", "posts.jsonl", *ECHO, cwd=folder)
    assert_reported(completed.returncode, completed.stderr, "posts.jsonl", "check its permissions")


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "posts.jsonl", *ECHO, "-o", "file/o.jsonl"),
        ("explain", "posts.jsonl", *ECHO, "--csv", "file/o.csv"),
        ("convert", "posts.jsonl", "file/o.csv"),
        ("merge", "posts.jsonl", "-o", "file/o.jsonl"),
        ("leakage", "posts.jsonl", "posts.jsonl", "-o", "file/o.json"),
        ("evaluate", "tiny:all", "-m", "echo", "-o", "file/e"),
        ("export-log", "results.json", "-o", "file/logs"),
        ("distill", "text", "output_dir=file/s"),
    ],
)
def test_output_that_cannot_exist_is_reported_before_any_work(gen_msa, folder, command):
    before = sorted(p.name for p in folder.iterdir())
    completed = gen_msa(*command)
    assert_reported(completed.code, completed.err, "cannot be")
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deep.json", DEEP),
        ("deep.jsonl", DEEP),
        ("deep.xml", "<sentences>" + "<a>" * 200_000),
        ("sentence.xml", "<sentences><sentence><text>x</text>" + "<a>" * 200_000),
        ("term.apc", DEEP),
        ("bad.parquet", "PAR1" + "x" * 100 + "PAR1"),
        ("empty.parquet", ""),
    ],
)
def test_hostile_file_is_rejected_without_a_traceback(gen_msa, folder, name, content):
    (folder / name).write_text(content)
    completed = gen_msa("explain", name, *ECHO, "-o", "o.jsonl")
    assert (completed.code in (2, 3), "Traceback" in completed.err) == (True, False)
    report = completed.err + "".join(p.read_text() for p in folder.glob("o.rejected.jsonl"))
    assert name in report


def test_post_with_too_many_aspects_is_rejected_and_the_others_are_answered(gen_msa, folder):
    row = {"text": "good food", "aspects": [f"a{i}" for i in range(90_000)]}
    with (folder / "posts.jsonl").open("a") as f:
        f.write(json.dumps(row) + "\n")
    completed = gen_msa("explain", "posts.jsonl", *ECHO, "-o", "o.jsonl")
    assert "3 of 4 posts" in completed.err
    assert "at most 1000 items" in (folder / "o.rejected.jsonl").read_text()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: " + "[" * 20_000, "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        (
            "\n".join(
                ["a0: &a0 [1,1,1,1,1,1,1,1,1]"]
                + [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
            ),
            "more than 100,000 values",
        ),
        ("a: 'open", "while scanning"),
    ],
)
def test_hostile_settings_file_is_reported(gen_msa, folder, content, reason):
    (folder / "job.yaml").write_text(content)
    completed = gen_msa("explain", "posts.jsonl", *ECHO, "--config", "job.yaml")
    assert (completed.code, "Traceback" in completed.err) == (2, False)
    assert "job.yaml cannot be read as YAML" in completed.err
    assert reason in completed.err


def test_output_with_a_name_that_is_too_long_is_reported(gen_msa, folder):
    completed = gen_msa("explain", "posts.jsonl", *ECHO, "-o", f"{'x' * 300}.jsonl")
    assert_reported(completed.code, completed.err, "xxx.jsonl", "give a shorter name")


def test_setting_longer_than_a_file_name_is_a_setting(gen_msa, folder):
    completed = gen_msa("explain", "posts.jsonl", *ECHO, f"device={'x' * 5000}")
    assert "unknown key 'device'" in completed.err


@pytest.mark.parametrize(
    "value",
    [
        "text",
        5,
        b"\x00\x01",
        zlib.compress(b"1"),
        zlib.compress(b'{"a": 1}'),
        zlib.compress(b'[{"annotator": "x", "aspect": 5}]'),
        zlib.compress(DEEP.encode()),
        zlib.compress(b"[]" * 20)[:-4],
    ],
)
def test_foreign_value_in_the_answer_cache_is_reported(gen_msa, folder, value):
    assert gen_msa("explain", "posts.jsonl", *ECHO, "-o", "o.jsonl").code == 0
    with sqlite3.connect(folder / "o.cache") as db:
        db.execute("UPDATE answers SET value = ?", (value,))
    db.close()
    completed = gen_msa("explain", "posts.jsonl", *ECHO, "-o", "o.jsonl")
    assert_reported(completed.code, completed.err, "the answer cache o.cache", "name another file")


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\1" * 100])
def test_file_that_is_no_answer_cache_is_reported(gen_msa, folder, content):
    (folder / "o.cache").write_bytes(content)
    completed = gen_msa("explain", "posts.jsonl", *ECHO, "-o", "o.jsonl")
    assert_reported(completed.code, completed.err, "o.cache cannot be used as an answer cache")
    completed = gen_msa("merge", "o.cache", "-o", "all.cache")
    assert_reported(completed.code, completed.err, "o.cache is not an answer cache")


def test_merging_damaged_answers_is_reported_and_adds_none(gen_msa, folder):
    assert gen_msa("explain", "posts.jsonl", *ECHO, "-o", "o.jsonl").code == 0
    with sqlite3.connect(folder / "o.cache") as db:
        db.execute("UPDATE answers SET value = 'x' WHERE key = (SELECT max(key) FROM answers)")
    db.close()
    completed = gen_msa("merge", "o.cache", "-o", "all.cache")
    assert_reported(completed.code, completed.err, "the answer cache o.cache is damaged")
    with sqlite3.connect(folder / "all.cache") as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (0,)
    db.close()


def test_full_disk_is_reported_by_the_merge_of_answers(folder):
    command = [sys.executable, "-m", "gen_msa"]
    write_posts(folder / "many.jsonl", map(post, range(300)))
    job = [*command, "explain", "many.jsonl", *ECHO, "-o", "o.jsonl"]
    subprocess.run(job, cwd=folder, check=True, capture_output=True)
    limited = (
        "import resource, signal, sys; from gen_msa.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); main()"
    )
    completed = subprocess.run(
        [sys.executable, "-c", limited, "merge", "o.cache", "-o", "all.cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert_reported(completed.returncode, completed.stderr, "all.cache", "free disk space")


def damage_weights(student: Path) -> None:
    path = student / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def empty_weights(student: Path) -> None:
    (student / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60))


def contradict_weights(student: Path) -> None:
    change_config(student, config={"width": 32})


def change_config(student: Path, **fields: object) -> None:
    path = student / "student.json"
    config = json.loads(path.read_text())
    for name, value in fields.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(config))


def nest_config(student: Path) -> None:
    (student / "student.json").write_text(DEEP)


def break_tokenizer(student: Path) -> None:
    (student / "tokenizer.json").write_text("{}")


def panic_in_tokenizer(student: Path) -> None:
    path = student / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["post_processor"]["special_tokens"] = {}
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    "damage",
    [
        damage_weights,
        empty_weights,
        contradict_weights,
        nest_config,
        break_tokenizer,
        panic_in_tokenizer,
    ],
)
def test_damaged_student_is_reported(gen_msa, folder, damage):
    student = folder / "student"
    student.mkdir()
    collator = make_collator(max_length=64)
    save_student(student, make_student(), collator, text="post", name="text")
    damage(student)
    manifest.seal(student)
    completed = gen_msa("explain", "posts.jsonl", "-m", "student:student", "language=en")
    assert_reported(completed.code, completed.err)
    assert re.search("student|tokenizer.json", completed.err)


def test_panic_of_a_library_is_reported(gen_msa, folder, monkeypatch):
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def fail(*_: object, **__: object) -> None:
        raise panic("index out of bounds")

    monkeypatch.setattr("gen_msa.data.sources.format_of", fail)
    completed = gen_msa("convert", "posts.jsonl", "o.csv")
    assert_reported(completed.code, completed.err, "PanicException: index out of bounds")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (sqlite3.OperationalError("database or disk is full"), "free disk space"),
        (PermissionError(13, "Permission denied", "a/b"), "a/b: Permission denied"),
    ],
)
def test_errors_from_anywhere_are_reported(gen_msa, folder, monkeypatch, error, message):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("gen_msa.data.sources.format_of", fail)
    completed = gen_msa("convert", "posts.jsonl", "o.csv")
    assert_reported(completed.code, completed.err, message)


def test_defect_of_the_package_keeps_its_traceback(gen_msa, folder, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AttributeError("a typing error")

    monkeypatch.setattr("gen_msa.data.sources.format_of", fail)
    with pytest.raises(AttributeError):
        gen_msa("convert", "posts.jsonl", "o.csv")
