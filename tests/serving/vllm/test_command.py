"""The command that starts vLLM: nothing secret on it, nothing open that was not opened."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.serving.vllm.command import CLOSED, KEY, MODULE, NOWHERE, command
from gen_msa.serving.vllm.finding import Found
from gen_msa.serving.vllm.settings import VllmSettings
from gen_msa.settings import load

MODEL, ADAPTER = Path("/models/base"), Path("/adapters/mabsa")
KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=16, max_size=40).map(
    lambda k: f"SECRET{k}"
)


def found(*, adapter=True, rank=8, length=None):
    if not adapter:
        return Found(MODEL, None, 0, ("base",), length, None, {})
    return Found(MODEL, ADAPTER, rank, ("mabsa", "base"), length, None, {})


def settings(*overrides):
    return load(VllmSettings, overrides=["reader=vllm:base@mabsa", *overrides])


def after(made, flag):
    return made.argv[made.argv.index(flag) + 1]


@st.composite
def asked(draw):
    """Settings of every kind that a user may give."""
    given = {
        "port": draw(st.integers(1, 65535)),
        "host": draw(st.sampled_from(["127.0.0.1", "localhost", "::1", "0.0.0.0"])),
        "pictures_per_prompt": draw(st.integers(0, 64)),
        "max_model_len": draw(st.none() | st.integers(1, 1 << 20)),
        "tensor_parallel_size": draw(st.integers(1, 8)),
        "gpu_memory_utilization": draw(st.none() | st.floats(0.01, 1)),
        "max_num_seqs": draw(st.none() | st.integers(1, 4096)),
        "block_size": draw(st.none() | st.integers(1, 256)),
        "picture": {
            "allowed_hosts": draw(
                st.lists(st.sampled_from(["a.org", "b.example"]), max_size=2, unique=True)
            )
        },
        "backend": {
            "dtype": draw(st.sampled_from(["auto", "float32", "bfloat16"])),
            "share_prefix": draw(st.booleans()),
        },
    }
    return VllmSettings(reader="vllm:base@mabsa", **given)


@given(asked(), KEYS, st.booleans(), st.integers(1, 512))
def test_whatever_is_set_no_secret_is_shown_and_nothing_is_opened(made, key, worn, rank):
    plan = command(made, found(adapter=worn, rank=rank), key)
    everything = " ".join(plan.argv) + plan.shown() + repr(plan)
    assert key not in everything
    assert plan.shown().startswith(f'{KEY}="${{GEN_MSA_TOKEN:?}}" env ')
    assert plan.whole({"PATH": "/bin", "GEN_MSA_TOKEN": key})[KEY] == key
    assert "GEN_MSA_TOKEN" not in plan.whole({"GEN_MSA_TOKEN": key})
    assert "--trust-remote-code" not in plan.argv
    assert "--no-trust-remote-code" in plan.argv
    assert "--api-key" not in plan.argv
    assert "--allowed-local-media-path" not in plan.argv
    at = plan.argv.index("--allowed-media-domains")
    named = []
    for word in plan.argv[at + 1 :]:
        if word.startswith("--"):
            break
        named.append(word)
    assert named == (list(made.picture.allowed_hosts) or [NOWHERE])
    assert plan.whole(dict.fromkeys(CLOSED, "1")).items() >= CLOSED.items()
    assert ("--enable-lora" in plan.argv) == worn
    shared = "--enable-prefix-caching" in plan.argv
    assert shared == made.backend.share_prefix
    # All of it is one word each for a shell, too.
    words = shlex.split(plan.shown().replace("\\\n", " "))
    assert tuple(words[-len(plan.argv) :]) == plan.argv


def test_the_flags_of_an_adapter():
    plan = command(settings("backend.dtype=float32"), found(rank=32, length=1152))
    assert plan.argv[:3] == (sys.executable, "-m", MODULE)
    assert after(plan, "--model") == str(MODEL)
    assert after(plan, "--served-model-name") == "base"
    assert after(plan, "--max-lora-rank") == "32"
    assert json.loads(after(plan, "--lora-modules")) == {
        "name": "mabsa",
        "path": str(ADAPTER),
        "base_model_name": "base",
    }
    assert json.loads(after(plan, "--limit-mm-per-prompt")) == {"image": 4}
    assert json.loads(after(plan, "--structured-outputs-config"))["disable_any_whitespace"] is True
    assert (after(plan, "--max-model-len"), after(plan, "--dtype")) == ("1152", "float32")
    assert after(plan, "--generation-config") == "vllm"
    assert after(plan, "--host") == "127.0.0.1"
    assert after(command(settings("max_model_len=9"), found(length=5)), "--max-model-len") == "9"
    assert "--max-model-len" not in command(settings(), found()).argv


def test_a_media_root_is_a_resolved_folder_and_never_the_whole_disk(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    plan = command(settings(f"media_root={tmp_path / 'link'}"), found())
    assert after(plan, "--allowed-local-media-path") == str((tmp_path / "pictures").resolve())
    for bad in ("/", str(tmp_path / "none"), "/.."):
        with pytest.raises(UserError, match="no folder for pictures"):
            command(settings(f"media_root={bad}"), found())


def test_a_token_from_a_file_is_read_where_the_command_runs(tmp_path):
    key = "a-token-of-sixteen-or-more"
    (tmp_path / "to ken").write_text(key)
    plan = command(settings(), found(), key, str(tmp_path / "to ken"))
    line = plan.shown().rsplit(" \\\n", 1)[0] + f' sh -c "echo \\${KEY}"'
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == key


@pytest.mark.parametrize("token_from", ["GEN_MSA_TOKEN", "VLLM_API_KEY", "{}/gone", "{}/empty"])
def test_without_its_token_the_shown_command_starts_nothing(tmp_path, token_from):
    """vLLM takes an empty key for none, and lets everybody in."""
    (tmp_path / "empty").write_text("\n")
    where = token_from.format(tmp_path)
    plan = command(settings(), found(), "a-token-of-sixteen-or-more", where)
    line = plan.shown().rsplit(" \\\n", 1)[0] + " sh -c 'echo started'"
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env={"PATH": "/bin"})
    assert ran.returncode != 0
    assert "started" not in ran.stdout
    if where in ("GEN_MSA_TOKEN", "VLLM_API_KEY"):
        there = {"PATH": "/bin:/usr/bin", where: "x"}
        ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=there)
        assert ran.stdout == "started\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("reader=echo", "vllm:MODEL"),
        ("reader='vllm:'", "vllm:MODEL"),
        ("picture.allowed_hosts=['a.org:8080']", "hosts alone"),
        ("name=../x", "name"),
        ("trust_remote_code=true", "unknown key"),
        ("extra_flags=--trust-remote-code", "unknown key"),
        ("port=0", "port"),
    ],
)
def test_what_cannot_be_set_is_said(given, said):
    with pytest.raises(UserError, match=said):
        settings(given)
