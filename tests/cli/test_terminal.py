"""What comes from posts reaches the terminal without control characters; notes and errors too."""

import json
import os
import subprocess
import sys

import pytest

ESCAPES = "\x1b]0;title\x07\x1b[2J\x1b]52;c;AAAA\x07"


def run(*arguments, folder, **environment):
    command = [sys.executable, "-m", "gen_msa", *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, check=False)


@pytest.fixture
def folder(tmp_path):
    rows = [
        {
            "id": f"1{ESCAPES}",
            "text": f"tea {ESCAPES}",
            "image": f"{ESCAPES}.png",
            "aspects": ["tea"],
        },
        {"text": "tea", f"polarty{ESCAPES}": 1, "aspects": [ESCAPES * 2, 3]},
    ]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["preview", "posts.jsonl", "-m", "echo", "cues={}"],
        ["explain", "posts.jsonl", "-m", "echo", "cues={}"],
        ["explain", "posts.jsonl", "-m", "echo", "-o", "o.jsonl", f"prompt={ESCAPES}"],
    ],
)
def test_escapes_of_posts_do_not_reach_the_terminal(command, folder):
    finished = run(*command, folder=folder)
    shown = finished.stderr + (b"" if command[0] == "explain" else finished.stdout)
    assert shown
    assert not {b"\x1b", b"\x07"} & {bytes([b]) for b in shown}


def test_preview_keeps_the_lines_of_the_prompt(folder):
    shown = run("preview", "posts.jsonl", "-m", "echo", "cues={}", folder=folder).stdout.decode()
    assert any("POST>>>" in line and "<<<POST" not in line for line in shown.splitlines())


def test_terminal_of_another_encoding_shows_escapes(folder):
    (folder / "emoji.jsonl").write_text('{"text": "\U0001f468", "aspects": ["\U0001f468"]}\n')
    command = ["preview", "emoji.jsonl", "-m", "echo", "cues={}"]
    finished = run(*command, folder=folder, PYTHONIOENCODING="cp1252")
    assert (finished.returncode, b"\\U0001f468" in finished.stdout) == (0, True)


@pytest.mark.parametrize("out", [f"{'b' * 240}.jsonl", "posts.jsonl/out.jsonl"])
def test_path_that_cannot_be_written_is_one_error_with_a_hint(out, folder):
    finished = run("explain", "posts.jsonl", "-m", "echo", "-o", out, "cues={}", folder=folder)
    assert finished.returncode == 2
    assert b"Traceback" not in finished.stderr
    assert b"hint:" in finished.stderr


def test_strict_ends_at_a_note_on_the_input(folder):
    (folder / "p.csv").write_text("text;polarity\ntea;positive\n")
    lenient = run("convert", "p.csv", "o.jsonl", folder=folder)
    assert (lenient.returncode, b"note: p.csv is read with semicolons" in lenient.stderr) == (
        0,
        True,
    )
    strict = run("convert", "p.csv", "o.jsonl", "--strict", folder=folder)
    assert (strict.returncode, b"gen-msa: p.csv is read" in strict.stderr) == (2, True)


def test_convert_that_reads_nothing_exits_with_3(folder):
    (folder / "bad.jsonl").write_text('{"txt": 1}\n')
    assert run("convert", "bad.jsonl", "o.jsonl", folder=folder).returncode == 3
