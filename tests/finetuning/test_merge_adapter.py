"""A merged model answers as the adapted one did, or it is not written."""

import json
import re
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
from gen_msa.backends.hf import probe, weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.cli.export import export
from gen_msa.errors import UserError
from gen_msa.finetuning import merge_adapter
from tests.backends.sample_requests import build_requests
from tests.backends.tiny_adapters import OPTIONS, saved, train

FAMILIES = ("llama", "qwen2", "llava", "idefics3")


@pytest.fixture(scope="module")
def model_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    for family in FAMILIES:
        saved(family, folder / family)
        train(folder / family, folder / f"{family}-adapter")
        (folder / f"{family}-adapter" / "recipe.yaml").write_text("seed: 0\n", "utf-8")
        manifest.seal(folder / f"{family}-adapter")
    return folder


def probe_scores(target):
    loaded = weights.load_inference_model(str(target), OPTIONS)
    has_vision = hasattr(loaded.processor, "image_processor")
    return probe.measure_probe(loaded.model, loaded.processor, with_image=has_vision).adapted


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_model_answers_as_base_with_adapter(model_root, tmp_path, family):
    exported = merge_adapter.merge_adapter(model_root / f"{family}-adapter", tmp_path / "out")
    manifest.verify(exported.folder)
    assert exported.max_difference <= 1e-4 < exported.tolerance
    assert exported.dtype == "float32"
    adapted_target = f"{model_root / family}@{model_root / f'{family}-adapter'}"
    assert (probe_scores(exported.folder) - probe_scores(adapted_target)).abs().max() < 1e-4
    assert (probe_scores(exported.folder) - probe_scores(model_root / family)).abs().max() > 1e-3
    backends = (TransformersBackend(str(t), OPTIONS) for t in (exported.folder, adapted_target))
    merged_answers, adapted_answers = (
        backend.complete(build_requests()[:3]) for backend in backends
    )
    assert [c.text for c in merged_answers] == [c.text for c in adapted_answers]
    assert (exported.folder / "recipe.yaml").is_file()


def test_merged_model_keeps_training_metadata(model_root, tmp_path):
    exported = merge_adapter.merge_adapter(model_root / "llama-adapter", tmp_path / "out")
    loaded = weights.load_inference_model(str(exported.folder), OPTIONS)
    assert loaded.metadata is not None
    assert loaded.metadata.base == str(model_root / "llama")
    data = bytearray((exported.folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (exported.folder / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="altered"):
        weights.load_inference_model(str(exported.folder), OPTIONS)


@pytest.mark.parametrize("family", ["llama", "idefics3"])
def test_bfloat16_export_is_within_tolerance(model_root, tmp_path, family):
    exported = merge_adapter.merge_adapter(
        model_root / f"{family}-adapter", tmp_path / "out", bf16=True
    )
    assert exported.dtype == "bfloat16"
    assert 0 < exported.max_difference <= exported.tolerance
    bf16_options = OPTIONS.model_copy(update={"dtype": "bfloat16"})
    assert (
        weights.load_inference_model(str(exported.folder), bf16_options).model.dtype
        == torch.bfloat16
    )
    weights.load_inference_model(str(exported.folder), OPTIONS)


def test_copy_with_other_scores_is_discarded(model_root, tmp_path, monkeypatch):
    original_read = weights.load_pretrained

    def read_damaged(folder, dtype):
        model, processor = original_read(folder, dtype)
        if folder != model_root / "llama":
            with torch.no_grad():
                model.lm_head.weight.mul_(2)
        return model, processor

    monkeypatch.setattr(weights, "load_pretrained", read_damaged)
    with pytest.raises(UserError, match="probe scores differ from those of the adapted"):
        merge_adapter.merge_adapter(model_root / "llama-adapter", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_folder_has_the_files_of_a_hub_model(model_root, tmp_path, family):
    """The files of a hub model: `convert_hf_to_gguf.py` of llama.cpp needs no more."""
    folder = merge_adapter.merge_adapter(model_root / f"{family}-adapter", tmp_path / "out").folder
    config = json.loads((folder / "config.json").read_bytes())
    base = json.loads((model_root / family / "config.json").read_bytes())
    assert config["architectures"] == base["architectures"]
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "adapter_config.json").exists()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (model_root / family / name).read_bytes()
    assert (folder / "processor_config.json").is_file() == (family in ("llava", "idefics3"))


@contextmanager
def file_size_limit(size):
    """Limit files to `size` bytes: the closest a test gets to a full disk."""
    # What pytest captures goes into a file too.
    transformers.utils.logging.disable_progress_bar()
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard_limit))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft_limit, hard_limit))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [100, 2_000, 20_000])
def test_full_disk_keeps_the_existing_export(model_root, tmp_path, size):
    exported = merge_adapter.merge_adapter(model_root / "llama-adapter", tmp_path / "out")
    with file_size_limit(size), pytest.raises(UserError, match="cannot be written"):
        merge_adapter.merge_adapter(model_root / "llama-adapter", exported.folder)
    manifest.verify(exported.folder)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_foreign_folder_is_never_replaced(model_root, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("draft", "utf-8")
    with pytest.raises(UserError, match="not made by export"):
        merge_adapter.merge_adapter(model_root / "llama-adapter", tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text("utf-8") == "draft"


def test_missing_base_is_requested_and_wrong_base_is_rejected(model_root, tmp_path):
    folder = train(model_root / "llama", tmp_path / "a", with_metadata=False)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "base_model_name_or_path": None}), "utf-8")
    with pytest.raises(UserError, match="--base"):
        merge_adapter.merge_adapter(folder, tmp_path / "out")
    exported = merge_adapter.merge_adapter(folder, tmp_path / "out", base=str(model_root / "llama"))
    assert "adapter" in exported.notes
    with pytest.raises(UserError, match="another base"):
        merge_adapter.merge_adapter(
            model_root / "llama-adapter", tmp_path / "b", base=str(model_root / "qwen2")
        )


def test_export_command_reports_the_difference(model_root, tmp_path, capsys):
    export(model_root / "llama-adapter", merge=True, out=tmp_path / "out")
    assert re.search(r"differ .* by at most \S+ nats \(0.01 allowed\)", capsys.readouterr().out)
    with pytest.raises(UserError, match="nothing to export"):
        export(model_root / "llama-adapter")
