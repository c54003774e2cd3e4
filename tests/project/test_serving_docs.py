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
from gen_msa.serving.app import ERROR_RESPONSES
from gen_msa.serving.schemas import ExplainResponse
from gen_msa.serving.settings import BatchingSettings, ServeSettings, ServiceLimits, load_token
from gen_msa.settings import load
from tests.fixtures.posts import write_image

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
SERVE = re.findall(r"^\$ (?:\S+=\S.*\) )?gen-msa serve (.+)$", PAGE, re.MULTILINE)
CURL = re.findall(r"^\$ curl (.+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def url():
    """`gen-msa serve`, as the page has it, with the fake model on a free port."""
    options = shlex.split(SERVE[0])[1:]
    assert "port=8080" in options
    options = [g for g in options if g not in ("port=8080", "explanations=false")]
    command = [sys.executable, "-m", "gen_msa", "serve", "echo", *options, "port=0"]
    echo_options = ["prompt=predict/plain", "cues={}"]
    environment = {k: v for k, v in os.environ.items() if k != "GEN_MSA_TOKEN"}
    process = subprocess.Popen(
        [*command, *echo_options], stderr=subprocess.PIPE, text=True, env=environment
    )
    listening = json.loads(process.stderr.readline())
    assert listening["settings"]["limits"]["posts"] == 64
    assert json.loads(process.stderr.readline())["event"] == "ready"
    drain_thread = threading.Thread(target=process.stderr.read, daemon=True)
    drain_thread.start()
    yield listening["url"]
    process.terminate()
    assert process.wait(30) == 0
    drain_thread.join()
    process.stderr.close()


def send_curl(url, command, folder):
    """Send what curl would send."""
    arguments = iter(shlex.split(command))
    headers, parts, body = {}, [], None
    for argument in arguments:
        if argument == "-H":
            name, _, value = next(arguments).partition(": ")
            headers[name] = value
        elif argument == "-d":
            body = next(arguments).encode()
        elif argument == "-F":
            name, _, value = next(arguments).partition("=")
            file = (value[1:], (folder / value[1:]).read_bytes()) if value[0] == "@" else None
            parts.append((name, file or (None, value.encode())))
        elif argument != "-s":
            path = argument.removeprefix("localhost:8080")
    return httpx.post(url + path, content=body, files=parts or None, headers=headers, timeout=60)


@pytest.mark.parametrize(("command", "good"), list(zip(CURL, ([1], [1, 0], [1]), strict=True)))
def test_requests_are_answered_as_documented(url, command, good, tmp_path):
    write_image(tmp_path / "dot.png")
    reply = send_curl(url, command, tmp_path)
    assert reply.status_code == 200, reply.text
    ExplainResponse.model_validate_json(reply.content)
    entries = reply.json()["answers"]
    assert ["example" in e for e in entries] == list(map(bool, good))


def test_example_answer_fits_the_schema():
    example = json.loads(re.search(r"```json\n(.+?)```", PAGE, re.DOTALL)[1])
    example["answers"][0]["example"]["post"]["text"] = "x"
    assert ExplainResponse.model_validate(example).answers[0].example


def test_serve_commands_have_valid_settings():
    for command in SERVE:
        model, *overrides = shlex.split(command)
        settings = load(ServeSettings, overrides=[f"model={model}", *overrides])
        load_token(settings, {"GEN_MSA_TOKEN": "0123456789abcdef"})
    assert len(SERVE) == 2


def test_tables_name_every_setting_and_status():
    table = PAGE.partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = "".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))
    documented = set(re.findall(r"`([\w.]+)`", rows))
    server_keys = ServeSettings.model_fields.keys() - {"limits", "batching"}
    known_keys = server_keys | {f"limits.{k}" for k in ServiceLimits.model_fields}
    known_keys |= {f"batching.{k}" for k in BatchingSettings.model_fields}
    known_keys |= {"image.max_bytes", "image.max_source_pixels"}
    assert documented <= known_keys
    required_keys = {k for k in known_keys if "." in k} | {"host", "port", "token_file", "log_text"}
    assert required_keys <= documented
    statuses = set(map(int, re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)))
    assert statuses == set(ERROR_RESPONSES) - {500}
