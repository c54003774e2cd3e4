"""The commands of docs/serving.md run; its tables name every limit and every status."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
pytest.importorskip("python_multipart", reason="python-multipart is not installed")

import httpx

import gen_msa as package
from gen_msa.serving.answers import Answers
from gen_msa.serving.describing import REFUSED
from gen_msa.serving.settings import Batching, Limits, ServeSettings, token_of
from gen_msa.settings import load
from tests.fixtures.posts import write_picture

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
SERVE = re.findall(r"^\$ (?:\S+=\S.*\) )?gen-msa serve (.+)$", PAGE, re.MULTILINE)
CURL = re.findall(r"^\$ curl (.+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def url():
    """`gen-msa serve`, as the page has it, with the fake reader on a free port."""
    given = shlex.split(SERVE[0])[1:]
    assert "port=8080" in given
    given = [g for g in given if g not in ("port=8080", "reasons=false")]
    command = [sys.executable, "-m", "gen_msa", "serve", "echo", *given, "port=0"]
    plain = ["prompt=reader/plain", "cues={}"]
    environment = {k: v for k, v in os.environ.items() if k != "GEN_MSA_TOKEN"}
    process = subprocess.Popen(
        [*command, *plain], stderr=subprocess.PIPE, text=True, env=environment
    )
    listening = json.loads(process.stderr.readline())
    assert listening["settings"]["limits"]["posts"] == 64
    assert json.loads(process.stderr.readline())["event"] == "ready"
    drained = threading.Thread(target=process.stderr.read, daemon=True)
    drained.start()
    yield listening["url"]
    process.terminate()
    assert process.wait(30) == 0
    drained.join()
    process.stderr.close()


def asked(url, command, folder):
    """What curl would send, sent."""
    words = iter(shlex.split(command))
    headers, parts, body = {}, [], None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        elif word == "-F":
            name, _, value = next(words).partition("=")
            file = (value[1:], (folder / value[1:]).read_bytes()) if value[0] == "@" else None
            parts.append((name, file or (None, value.encode())))
        elif word != "-s":
            path = word.removeprefix("localhost:8080")
    return httpx.post(url + path, content=body, files=parts or None, headers=headers, timeout=60)


@pytest.mark.parametrize(("command", "good"), list(zip(CURL, ([1], [1, 0], [1]), strict=True)))
def test_its_requests_are_answered_as_it_says(url, command, good, tmp_path):
    write_picture(tmp_path / "dot.png")
    reply = asked(url, command, tmp_path)
    assert reply.status_code == 200, reply.text
    Answers.model_validate_json(reply.content)
    entries = reply.json()["answers"]
    assert ["example" in e for e in entries] == list(map(bool, good))


def test_its_answer_has_the_shape_of_an_answer():
    shown = json.loads(re.search(r"```json\n(.+?)```", PAGE, re.DOTALL)[1])
    shown["answers"][0]["example"]["post"]["text"] = "x"
    assert Answers.model_validate(shown).answers[0].example


def test_its_other_commands_have_settings_that_load():
    for command in SERVE:
        reader, *given = shlex.split(command)
        settings = load(ServeSettings, overrides=[f"reader={reader}", *given])
        token_of(settings, {"GEN_MSA_TOKEN": "0123456789abcdef"})
    assert len(SERVE) == 2


def test_its_tables_name_every_setting_and_every_status():
    table = PAGE.partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = "".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))
    named = set(re.findall(r"`([\w.]+)`", rows))
    own = ServeSettings.model_fields.keys() - {"limits", "batching"}
    known = own | {f"limits.{k}" for k in Limits.model_fields}
    known |= {f"batching.{k}" for k in Batching.model_fields}
    known |= {"picture.max_bytes", "picture.max_source_pixels"}
    assert named <= known
    wanted = {k for k in known if "." in k} | {"host", "port", "token_file", "log_text"}
    assert wanted <= named
    statuses = set(map(int, re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)))
    assert statuses == set(REFUSED) - {500}
