"""Models from disk: what is saved reads back, revisions follow the bytes, the rest is refused."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.hf import weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.errors import UserError
from tests.backends.sample_requests import build_requests, load_noise_image
from tests.fixtures.tiny_models import tiny_model

OPTIONS = BackendOptions(device="cpu")


@pytest.fixture(scope="module")
def model_folders(tmp_path_factory):
    """A text model and one with eyes, saved as anyone would save them."""
    root = tmp_path_factory.mktemp("models")
    for family in ("llama", "idefics3", "llava"):
        tiny = tiny_model(family)
        tiny.model.save_pretrained(root / family)
        tiny.processor.save_pretrained(root / family)
    return root


@pytest.fixture(scope="module")
def adapter(model_folders, tmp_path_factory):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model, _, _ = weights.load_model_and_processor(str(model_folders / "llama"), OPTIONS)
    torch.manual_seed(3)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["llama", "idefics3", "llava"])
def test_saved_model_gives_same_answers(model_folders, family):
    tiny = tiny_model(family)
    before = TransformersBackend.from_model(
        tiny.model, tiny.processor, OPTIONS, "tiny", load_noise_image
    )
    model, processor, revision = weights.load_model_and_processor(
        str(model_folders / family), OPTIONS
    )
    after = TransformersBackend.from_model(model, processor, OPTIONS, revision, load_noise_image)
    requests = build_requests(with_images=True)
    assert [c.text for c in after.complete(requests)] == [c.text for c in before.complete(requests)]
    assert after.supports_images == before.supports_images
    assert model.dtype == torch.float32


def test_backend_loads_from_folder(model_folders):
    backend = TransformersBackend(str(model_folders / "llama"), OPTIONS)
    assert backend.revision.endswith("/float32")
    assert backend.complete(build_requests()[:1])[0].text


def test_adapter_changes_answers_and_revision(model_folders, adapter):
    plain = TransformersBackend(str(model_folders / "llama"), OPTIONS)
    tuned = TransformersBackend(f"{model_folders / 'llama'}@{adapter}", OPTIONS)
    assert plain.revision != tuned.revision
    plain_scores, tuned_scores = (
        k.complete(build_requests()[:1])[0].option_logprobs for k in (plain, tuned)
    )
    assert plain_scores != tuned_scores


def test_adapter_without_safetensors_is_refused(model_folders, adapter, tmp_path):
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    with pytest.raises(UserError, match="no adapter_model"):
        weights.load_model_and_processor(f"{model_folders / 'llama'}@{tmp_path}", OPTIONS)


def test_adapter_of_other_base_is_refused(model_folders, adapter, tmp_path):
    pytest.importorskip("peft")
    shutil.copytree(adapter, tmp_path / "a")
    path = tmp_path / "a" / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "target_modules": ["nowhere"]}), "utf-8")
    with pytest.raises(UserError, match="does not fit"):
        weights.load_model_and_processor(f"{model_folders / 'llama'}@{tmp_path / 'a'}", OPTIONS)


def test_revision_depends_on_relevant_files_only(model_folders, tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(model_folders / "llama", folder)
    first = weights.folder_revision(folder)
    assert weights.folder_revision(folder) == first
    (folder / "README.md").write_text("notes", "utf-8")
    assert weights.folder_revision(folder) == first
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert weights.folder_revision(folder) != first


def test_unknown_model_is_refused_without_download():
    with pytest.raises(UserError, match="hf download nobody/nothing"):
        weights.load_model_and_processor("nobody/nothing", OPTIONS)


def test_pickled_weights_are_refused(model_folders, tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(model_folders / "llama", folder)
    (folder / "model.safetensors").unlink()
    torch.save(tiny_model("llama").model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickle"):
        weights.load_model_and_processor(str(folder), OPTIONS)


def test_model_with_own_code_is_refused(model_folders, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(model_folders / "llama", folder)
    path = folder / "config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings.update(model_type="own", auto_map={"AutoConfig": "code.Own"})
    path.write_text(json.dumps(settings), "utf-8")
    (folder / "code.py").write_text("raise SystemExit('code was run')", "utf-8")
    with pytest.raises(UserError, match="code"):
        weights.load_model_and_processor(str(folder), OPTIONS)


def test_half_precision_is_loaded(model_folders):
    model, _, revision = weights.load_model_and_processor(
        str(model_folders / "llama"), BackendOptions(dtype="bfloat16", device="cpu")
    )
    assert model.dtype == torch.bfloat16
    assert revision.endswith("/bfloat16")
