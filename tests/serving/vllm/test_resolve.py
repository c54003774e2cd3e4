"""What `gen-msa serve vllm:…` looks at before it starts, and how its command line says so."""

import importlib.util
import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

from gen_msa import manifest, prompting
from gen_msa.errors import UserError
from gen_msa.serving.vllm.command import resolve_model
from gen_msa.serving.vllm.server import plan_server
from tests.serving.vllm.builders import KEY, PROMPT, load_settings

OTHER_PROMPTS = ("predict/aspects", "predict/overall", "predict/reask")


def resealed_copy(adapter, folder, **changes):
    """A copy of the adapter whose `inference.json` says something else."""
    shutil.copytree(adapter, folder)
    metadata = json.loads((folder / "inference.json").read_text())
    for name, value in changes.items():
        metadata[name] = metadata[name] | value if isinstance(value, dict) else value
    (folder / "inference.json").write_text(json.dumps(metadata))
    (folder / manifest.MANIFEST_NAME).unlink()
    manifest.seal(folder)
    return folder


def run_cli(monkeypatch, capsys, *args):
    """What the command line prints and how it ends."""
    from gen_msa.cli import main

    monkeypatch.setattr("sys.argv", ["gen-msa", *args])
    code = 0
    try:
        main()
    except SystemExit as e:
        code = e.code or 0
    out = capsys.readouterr()
    return code, out.out, out.err


def test_print_shows_command_without_key_and_starts_nothing(base, adapter, monkeypatch, capsys):
    monkeypatch.setenv("GEN_MSA_TOKEN", KEY)
    code, out, err = run_cli(monkeypatch, capsys, "serve", f"vllm:{base}@{adapter}", "--print")
    assert code == 0
    assert "-m vllm.entrypoints.openai.api_server" in out
    assert 'VLLM_API_KEY="${GEN_MSA_TOKEN:?}"' in out
    assert KEY not in out + err


def test_print_option_is_only_for_vllm(monkeypatch, capsys):
    code, _, err = run_cli(monkeypatch, capsys, "serve", "echo", "--print")
    assert code == 2
    assert "--print works only with vllm" in err


def test_missing_vllm_names_the_extra(base, adapter, monkeypatch, capsys):
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    code, _, err = run_cli(monkeypatch, capsys, "serve", f"vllm:{base}@{adapter}")
    assert code == 2
    assert "gen-msa[vllm]" in err


def test_python_of_other_environment_is_used_as_given(base, adapter, tmp_path, monkeypatch, capsys):
    """Though both are links to one file, as those of virtual environments are."""
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "python"
    link.symlink_to(Path(sys.executable).resolve())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        overrides = [f"port={listener.getsockname()[1]}", f"python={link}"]
    code, _, err = run_cli(monkeypatch, capsys, "serve", f"vllm:{base}@{adapter}", *overrides)
    assert code == 2
    assert "ended by itself" in err


@pytest.mark.parametrize("missing", ["config.json", "*.safetensors"])
def test_folder_without_model_is_refused(base, tmp_path, monkeypatch, capsys, missing):
    shutil.copytree(base, tmp_path / "half")
    for path in (tmp_path / "half").glob(missing):
        path.unlink()
    code, out, err = run_cli(monkeypatch, capsys, "serve", f"vllm:{tmp_path / 'half'}", "--print")
    assert (code, out) == (2, "")
    assert "half is not a model folder" in err


@pytest.mark.parametrize("name", ["a: b", "a #b", "[x]", "null"])
def test_unusual_folder_names_are_taken_literally(base, tmp_path, monkeypatch, capsys, name):
    shutil.copytree(base, tmp_path / name)
    code, out, err = run_cli(
        monkeypatch, capsys, "serve", f"vllm:{tmp_path / name}", "name=x", "--print"
    )
    assert code == 0, err
    assert str(tmp_path / name) in out
    conflicting = run_cli(monkeypatch, capsys, "serve", f"vllm:{base}", "model=echo", "--print")
    assert (conflicting[0], "given twice" in conflicting[2]) == (2, True)


def test_resolved_names_ranks_and_lengths_come_from_folders(base, adapter, tmp_path):
    resolved = resolve_model(load_settings(base, adapter))
    assert (resolved.names, resolved.rank, resolved.max_model_len) == (
        ("mabsa", "tiny-llama"),
        8,
        None,
    )
    folder = tmp_path / "mabsa"
    shutil.copytree(adapter, folder)
    (folder / "recipe.yaml").write_text("max_length: 900\n")
    (folder / manifest.MANIFEST_NAME).unlink()
    manifest.seal(folder)
    length = resolve_model(load_settings(base, folder)).max_model_len
    assert length == 900 + max(
        prompting.load_prompt(p).max_new_tokens for p in (PROMPT, *OTHER_PROMPTS)
    )
    assert resolve_model(load_settings(base, folder, "max_new_tokens=11")).max_model_len == 911
    assert resolve_model(load_settings(base, folder, "max_new_tokens=9000")).max_model_len == 2048
    with pytest.raises(UserError, match="have the same name"):
        resolve_model(load_settings(base, adapter, "name=tiny-llama"))


def test_mismatch_with_training_is_refused_before_start(base, adapter, tmp_path):
    for override in ("prompt=predict/full", "image.max_pixels=9"):
        with pytest.raises(UserError, match="trained with"):
            resolve_model(load_settings(base, adapter, override))
    changed = resealed_copy(adapter, tmp_path / "prompt", prompts={PROMPT: "0" * 64})
    with pytest.raises(UserError, match="differs from the training"):
        resolve_model(load_settings(base, changed))
    template = resealed_copy(adapter, tmp_path / "template", template_sha256="0" * 64)
    with pytest.raises(UserError, match="another chat template"):
        resolve_model(load_settings(base, template))
    other_base = resealed_copy(adapter, tmp_path / "base", base_sha256="0" * 64)
    with pytest.raises(UserError, match="another base"):
        resolve_model(load_settings(base, other_base))


def test_public_host_requires_token(base, adapter, monkeypatch):
    monkeypatch.delenv("GEN_MSA_TOKEN", raising=False)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(UserError, match="no token"):
        plan_server(load_settings(base, adapter, "host=0.0.0.0"))
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    plan, _ = plan_server(load_settings(base, adapter, "host=0.0.0.0"))
    assert plan.secret == KEY
    assert plan.secret_from == "VLLM_API_KEY"
    (base.parent / "token").write_text(KEY)
    plan, _ = plan_server(load_settings(base, adapter, f"token_file={base.parent / 'token'}"))
    assert plan.secret_from == str(base.parent / "token")
