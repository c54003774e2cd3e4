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
from gen_msa.serving.vllm.finding import find
from gen_msa.serving.vllm.running import planned
from tests.serving.vllm.making import KEY, PROMPT, settings

OTHERS = ("reader/aspects", "reader/overall", "reader/reask")


def resealed(worn, folder, **changes):
    """A copy of the adapter whose `reading.json` says something else."""
    shutil.copytree(worn, folder)
    facts = json.loads((folder / "reading.json").read_text())
    for name, value in changes.items():
        facts[name] = facts[name] | value if isinstance(value, dict) else value
    (folder / "reading.json").write_text(json.dumps(facts))
    (folder / manifest.NAME).unlink()
    manifest.seal(folder)
    return folder


def said(monkeypatch, capsys, *words):
    """What the command line prints and how it ends."""
    from gen_msa.cli import main

    monkeypatch.setattr("sys.argv", ["gen-msa", *words])
    code = 0
    try:
        main()
    except SystemExit as e:
        code = e.code or 0
    out = capsys.readouterr()
    return code, out.out, out.err


def test_print_shows_the_command_without_the_key_and_starts_nothing(
    base, worn, monkeypatch, capsys
):
    monkeypatch.setenv("GEN_MSA_TOKEN", KEY)
    code, out, err = said(monkeypatch, capsys, "serve", f"vllm:{base}@{worn}", "--print")
    assert code == 0
    assert "-m vllm.entrypoints.openai.api_server" in out
    assert 'VLLM_API_KEY="${GEN_MSA_TOKEN:?}"' in out
    assert KEY not in out + err


def test_print_is_for_vllm_alone(monkeypatch, capsys):
    code, _, err = said(monkeypatch, capsys, "serve", "echo", "--print")
    assert code == 2
    assert "--print is for vllm" in err


def test_without_vllm_its_extra_is_named(base, worn, monkeypatch, capsys):
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    code, _, err = said(monkeypatch, capsys, "serve", f"vllm:{base}@{worn}")
    assert code == 2
    assert "gen-msa[vllm]" in err


def test_another_environment_s_interpreter_is_not_taken_for_ours(
    base, worn, tmp_path, monkeypatch, capsys
):
    """Though both are links to one file, as those of virtual environments are."""
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "python"
    link.symlink_to(Path(sys.executable).resolve())
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        given = [f"port={door.getsockname()[1]}", f"python={link}"]
    code, _, err = said(monkeypatch, capsys, "serve", f"vllm:{base}@{worn}", *given)
    assert code == 2
    assert "ended by itself" in err


@pytest.mark.parametrize("gone", ["config.json", "*.safetensors"])
def test_a_folder_that_is_no_model_is_named_also_for_print(
    base, tmp_path, monkeypatch, capsys, gone
):
    shutil.copytree(base, tmp_path / "half")
    for path in (tmp_path / "half").glob(gone):
        path.unlink()
    code, out, err = said(monkeypatch, capsys, "serve", f"vllm:{tmp_path / 'half'}", "--print")
    assert (code, out) == (2, "")
    assert "half is no model's folder" in err


@pytest.mark.parametrize("name", ["a: b", "a #b", "[x]", "null"])
def test_a_folder_s_name_is_taken_as_it_stands(base, tmp_path, monkeypatch, capsys, name):
    shutil.copytree(base, tmp_path / name)
    code, out, err = said(
        monkeypatch, capsys, "serve", f"vllm:{tmp_path / name}", "name=x", "--print"
    )
    assert code == 0, err
    assert str(tmp_path / name) in out
    twice = said(monkeypatch, capsys, "serve", f"vllm:{base}", "reader=echo", "--print")
    assert (twice[0], "named twice" in twice[2]) == (2, True)


def test_names_lengths_and_ranks_follow_from_the_folders(base, worn, tmp_path):
    found = find(settings(base, worn))
    assert (found.names, found.rank, found.length) == (("mabsa", "tiny-llama"), 8, None)
    folder = tmp_path / "mabsa"
    shutil.copytree(worn, folder)
    (folder / "recipe.yaml").write_text("max_length: 900\n")
    (folder / manifest.NAME).unlink()
    manifest.seal(folder)
    length = find(settings(base, folder)).length
    assert length == 900 + max(prompting.load(p).max_new_tokens for p in (PROMPT, *OTHERS))
    assert find(settings(base, folder, "max_new_tokens=11")).length == 911
    assert find(settings(base, folder, "max_new_tokens=9000")).length == 2048
    with pytest.raises(UserError, match="both be called"):
        find(settings(base, worn, "name=tiny-llama"))


def test_asking_otherwise_than_training_did_is_refused_before_anything_starts(base, worn, tmp_path):
    for given in ("prompt=reader/full", "picture.max_pixels=9"):
        with pytest.raises(UserError, match="trained with"):
            find(settings(base, worn, given))
    changed = resealed(worn, tmp_path / "prompt", prompts={PROMPT: "0" * 64})
    with pytest.raises(UserError, match="not as it was in training"):
        find(settings(base, changed))
    template = resealed(worn, tmp_path / "template", template_sha256="0" * 64)
    with pytest.raises(UserError, match="another chat template"):
        find(settings(base, template))
    other = resealed(worn, tmp_path / "base", base_sha256="0" * 64)
    with pytest.raises(UserError, match="another base"):
        find(settings(base, other))


def test_a_host_that_others_reach_demands_a_token(base, worn, monkeypatch):
    monkeypatch.delenv("GEN_MSA_TOKEN", raising=False)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(UserError, match="no token"):
        planned(settings(base, worn, "host=0.0.0.0"))
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    plan, _ = planned(settings(base, worn, "host=0.0.0.0"))
    assert plan.secret == KEY
    assert plan.secret_from == "VLLM_API_KEY"
    (base.parent / "token").write_text(KEY)
    plan, _ = planned(settings(base, worn, f"token_file={base.parent / 'token'}"))
    assert plan.secret_from == str(base.parent / "token")
