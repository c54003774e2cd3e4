"""A merged model answers as the adapted one did, in every format, or it is not kept."""

import json
import resource
import signal
from contextlib import contextmanager

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
import transformers

from gen_msa import manifest
from gen_msa.backends.local import probe, weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.cli.export import export
from gen_msa.errors import UserError
from gen_msa.finetuning import exporting
from tests.backends.chats import asked
from tests.backends.trained import OPTIONS, saved, train

FAMILIES = ("llama", "qwen2", "llava", "idefics3")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    for family in FAMILIES:
        saved(family, root / family)
        train(root / family, root / f"{family}-adapter")
        (root / f"{family}-adapter" / "recipe.yaml").write_text("seed: 0\n", "utf-8")
        manifest.seal(root / f"{family}-adapter")
    return root


def scores(target):
    found = weights.opened(str(target), OPTIONS)
    pictured = hasattr(found.processor, "image_processor")
    return probe.measure(found.model, found.processor, pictured=pictured).adapted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_model_answers_as_base_and_adapter_did(root, tmp_path, family):
    done = exporting.merge(root / f"{family}-adapter", tmp_path / "out")
    manifest.check(done.folder)
    assert done.off <= 1e-4 < done.allowed
    assert done.dtype == "float32"
    pair = f"{root / family}@{root / f'{family}-adapter'}"
    assert (scores(done.folder) - scores(pair)).abs().max() < 1e-4
    assert (scores(done.folder) - scores(root / family)).abs().max() > 1e-3
    backends = (TransformersBackend(str(t), OPTIONS) for t in (done.folder, pair))
    one, two = (backend.complete(asked()[:3]) for backend in backends)
    assert [c.text for c in one] == [c.text for c in two]
    assert (done.folder / "recipe.yaml").is_file()


def test_a_merged_model_remembers_how_it_was_trained(root, tmp_path):
    done = exporting.merge(root / "llama-adapter", tmp_path / "out")
    found = weights.opened(str(done.folder), OPTIONS)
    assert found.facts is not None
    assert found.facts.base == str(root / "llama")
    data = bytearray((done.folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (done.folder / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="altered"):
        weights.opened(str(done.folder), OPTIONS)


@pytest.mark.parametrize("family", ["llama", "idefics3"])
def test_bfloat16_is_written_as_such_and_within_its_tolerance(root, tmp_path, family):
    done = exporting.merge(root / f"{family}-adapter", tmp_path / "out", bf16=True)
    assert done.dtype == "bfloat16"
    assert 0 < done.off <= done.allowed
    half = OPTIONS.model_copy(update={"dtype": "bfloat16"})
    assert weights.opened(str(done.folder), half).model.dtype == torch.bfloat16
    weights.opened(str(done.folder), OPTIONS)


def test_a_copy_that_answers_otherwise_is_not_kept(root, tmp_path, monkeypatch):
    read = weights.read

    def damaged(folder, dtype):
        model, processor = read(folder, dtype)
        if folder != root / "llama":
            with torch.no_grad():
                model.lm_head.weight.mul_(2)
        return model, processor

    monkeypatch.setattr(weights, "read", damaged)
    with pytest.raises(UserError, match="scores the probe otherwise than the adapted"):
        exporting.merge(root / "llama-adapter", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_folder_has_the_files_that_other_tools_read(root, tmp_path, family):
    """Those of a model on the hub: llama.cpp's `convert_hf_to_gguf.py` needs no more."""
    folder = exporting.merge(root / f"{family}-adapter", tmp_path / "out").folder
    config = json.loads((folder / "config.json").read_bytes())
    base = json.loads((root / family / "config.json").read_bytes())
    assert config["architectures"] == base["architectures"]
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "adapter_config.json").exists()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (root / family / name).read_bytes()
    assert (folder / "processor_config.json").is_file() == (family in ("llava", "idefics3"))


@contextmanager
def no_room_for(size):
    """No file may grow beyond `size` bytes: the nearest thing to a full disk a test can have."""
    # What pytest captures goes into a file too.
    transformers.utils.logging.disable_progress_bar()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [100, 2_000, 20_000])
def test_a_full_disk_leaves_what_stood_there(root, tmp_path, size):
    done = exporting.merge(root / "llama-adapter", tmp_path / "out")
    with no_room_for(size), pytest.raises(UserError, match="cannot be written"):
        exporting.merge(root / "llama-adapter", done.folder)
    manifest.check(done.folder)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_not_ours_is_never_replaced(root, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine", "utf-8")
    with pytest.raises(UserError, match="not made by export"):
        exporting.merge(root / "llama-adapter", tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text("utf-8") == "mine"


def test_a_base_that_cannot_be_found_is_asked_for_and_a_wrong_one_refused(root, tmp_path):
    folder = train(root / "llama", tmp_path / "a", facts=False)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "base_model_name_or_path": None}), "utf-8")
    with pytest.raises(UserError, match="--base"):
        exporting.merge(folder, tmp_path / "out")
    done = exporting.merge(folder, tmp_path / "out", base=str(root / "llama"))
    assert "adapter" in done.notes
    with pytest.raises(UserError, match="another base"):
        exporting.merge(root / "llama-adapter", tmp_path / "b", base=str(root / "qwen2"))


def test_the_command_says_how_near_the_copy_is(root, tmp_path, capsys):
    export(root / "llama-adapter", merge=True, out=tmp_path / "out")
    assert "nats of the adapted model's (0.01 allowed)" in capsys.readouterr().out
    with pytest.raises(UserError, match="what to export"):
        export(root / "llama-adapter")
