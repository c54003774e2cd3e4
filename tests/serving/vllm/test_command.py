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
from gen_msa.serving.vllm.command import (
    HARDENED_ENVIRONMENT,
    SERVER_MODULE,
    UNREACHABLE_HOST,
    VLLM_KEY_ENV_VAR,
    ResolvedModel,
    VllmSettings,
    build_command,
)
from gen_msa.settings import load

MODEL, ADAPTER = Path("/models/base"), Path("/adapters/mabsa")
KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=16, max_size=40).map(
    lambda k: f"SECRET{k}"
)


def resolved(*, adapter=True, rank=8, length=None):
    if not adapter:
        return ResolvedModel(MODEL, None, 0, ("base",), length, None, {})
    return ResolvedModel(MODEL, ADAPTER, rank, ("mabsa", "base"), length, None, {})


def load_settings(*overrides):
    return load(VllmSettings, overrides=["model=vllm:base@mabsa", *overrides])


def flag_value(command_plan, flag):
    return command_plan.argv[command_plan.argv.index(flag) + 1]


@st.composite
def vllm_settings(draw):
    """Settings of every kind that a user may give."""
    fields = {
        "port": draw(st.integers(1, 65535)),
        "host": draw(st.sampled_from(["127.0.0.1", "localhost", "::1", "0.0.0.0"])),
        "images_per_prompt": draw(st.integers(0, 64)),
        "max_model_len": draw(st.none() | st.integers(1, 1 << 20)),
        "tensor_parallel_size": draw(st.integers(1, 8)),
        "gpu_memory_utilization": draw(st.none() | st.floats(0.01, 1)),
        "max_num_seqs": draw(st.none() | st.integers(1, 4096)),
        "block_size": draw(st.none() | st.integers(1, 256)),
        "image": {
            "allowed_hosts": draw(
                st.lists(st.sampled_from(["a.org", "b.example"]), max_size=2, unique=True)
            )
        },
        "backend": {
            "dtype": draw(st.sampled_from(["auto", "float32", "bfloat16"])),
            "share_prefix": draw(st.booleans()),
        },
    }
    return VllmSettings(model="vllm:base@mabsa", **fields)


@given(vllm_settings(), KEYS, st.booleans(), st.integers(1, 512))
def test_no_setting_exposes_secret_or_relaxes_security(settings_drawn, key, with_adapter, rank):
    plan = build_command(settings_drawn, resolved(adapter=with_adapter, rank=rank), key)
    visible_text = " ".join(plan.argv) + plan.shell_text() + repr(plan)
    assert key not in visible_text
    assert plan.shell_text().startswith(f'{VLLM_KEY_ENV_VAR}="${{GEN_MSA_TOKEN:?}}" env ')
    assert plan.full_environment({"PATH": "/bin", "GEN_MSA_TOKEN": key})[VLLM_KEY_ENV_VAR] == key
    assert "GEN_MSA_TOKEN" not in plan.full_environment({"GEN_MSA_TOKEN": key})
    assert "--trust-remote-code" not in plan.argv
    assert "--no-trust-remote-code" in plan.argv
    assert "--api-key" not in plan.argv
    assert "--allowed-local-media-path" not in plan.argv
    index = plan.argv.index("--allowed-media-domains")
    domains = []
    for argument in plan.argv[index + 1 :]:
        if argument.startswith("--"):
            break
        domains.append(argument)
    assert domains == (list(settings_drawn.image.allowed_hosts) or [UNREACHABLE_HOST])
    assert (
        plan.full_environment(dict.fromkeys(HARDENED_ENVIRONMENT, "1")).items()
        >= HARDENED_ENVIRONMENT.items()
    )
    assert ("--enable-lora" in plan.argv) == with_adapter
    prefix_caching = "--enable-prefix-caching" in plan.argv
    assert prefix_caching == settings_drawn.backend.share_prefix
    # All of it is one word each for a shell, too.
    shell_words = shlex.split(plan.shell_text().replace("\\\n", " "))
    assert tuple(shell_words[-len(plan.argv) :]) == plan.argv


def test_adapter_flags():
    plan = build_command(load_settings("backend.dtype=float32"), resolved(rank=32, length=1152))
    assert plan.argv[:3] == (sys.executable, "-m", SERVER_MODULE)
    assert flag_value(plan, "--model") == str(MODEL)
    assert flag_value(plan, "--served-model-name") == "base"
    assert flag_value(plan, "--max-lora-rank") == "32"
    assert json.loads(flag_value(plan, "--lora-modules")) == {
        "name": "mabsa",
        "path": str(ADAPTER),
        "base_model_name": "base",
    }
    assert json.loads(flag_value(plan, "--limit-mm-per-prompt")) == {"image": 4}
    assert (
        json.loads(flag_value(plan, "--structured-outputs-config"))["disable_any_whitespace"]
        is True
    )
    assert (flag_value(plan, "--max-model-len"), flag_value(plan, "--dtype")) == ("1152", "float32")
    assert flag_value(plan, "--generation-config") == "vllm"
    assert flag_value(plan, "--host") == "127.0.0.1"
    assert (
        flag_value(
            build_command(load_settings("max_model_len=9"), resolved(length=5)), "--max-model-len"
        )
        == "9"
    )
    assert "--max-model-len" not in build_command(load_settings(), resolved()).argv


def test_media_root_is_a_resolved_folder_below_root(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    plan = build_command(load_settings(f"media_root={tmp_path / 'link'}"), resolved())
    assert flag_value(plan, "--allowed-local-media-path") == str((tmp_path / "images").resolve())
    for root in ("/", str(tmp_path / "none"), "/.."):
        with pytest.raises(UserError, match="not a folder for images"):
            build_command(load_settings(f"media_root={root}"), resolved())


def test_token_file_is_read_where_command_runs(tmp_path):
    key = "a-token-of-sixteen-or-more"
    (tmp_path / "to ken").write_text(key)
    plan = build_command(load_settings(), resolved(), key, str(tmp_path / "to ken"))
    line = plan.shell_text().rsplit(" \\\n", 1)[0] + f' sh -c "echo \\${VLLM_KEY_ENV_VAR}"'
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == key


@pytest.mark.parametrize("token_from", ["GEN_MSA_TOKEN", "VLLM_API_KEY", "{}/gone", "{}/empty"])
def test_shown_command_starts_nothing_without_token(tmp_path, token_from):
    """vLLM takes an empty key for none, and lets everybody in."""
    (tmp_path / "empty").write_text("\n")
    source = token_from.format(tmp_path)
    plan = build_command(load_settings(), resolved(), "a-token-of-sixteen-or-more", source)
    line = plan.shell_text().rsplit(" \\\n", 1)[0] + " sh -c 'echo started'"
    result = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env={"PATH": "/bin"}
    )
    assert result.returncode != 0
    assert "started" not in result.stdout
    if source in ("GEN_MSA_TOKEN", "VLLM_API_KEY"):
        environment = {"PATH": "/bin:/usr/bin", source: "x"}
        result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment)
        assert result.stdout == "started\n"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=echo", "vllm:MODEL"),
        ("model='vllm:'", "vllm:MODEL"),
        ("image.allowed_hosts=['a.org:8080']", "host names only"),
        ("name=../x", "name"),
        ("trust_remote_code=true", "unknown key"),
        ("extra_flags=--trust-remote-code", "unknown key"),
        ("port=0", "port"),
    ],
)
def test_invalid_setting_raises_with_reason(override, message):
    with pytest.raises(UserError, match=message):
        load_settings(override)
