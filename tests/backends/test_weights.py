"""Models from disk: what is saved reads back, revisions follow the bytes, the rest is refused."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.local import weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.errors import UserError
from tests.backends.chats import asked, look
from tests.fixtures.tiny_models import tiny_model

OPTIONS = BackendOptions(device="cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A text model and one with eyes, saved as anyone would save them."""
    root = tmp_path_factory.mktemp("models")
    for family in ("llama", "idefics3", "llava"):
        tiny = tiny_model(family)
        tiny.model.save_pretrained(root / family)
        tiny.processor.save_pretrained(root / family)
    return root


@pytest.fixture(scope="module")
def adapter(folders, tmp_path_factory):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model, _, _ = weights.load(str(folders / "llama"), OPTIONS)
    torch.manual_seed(3)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["llama", "idefics3", "llava"])
def test_a_saved_model_says_what_it_said_before(folders, family):
    tiny = tiny_model(family)
    before = TransformersBackend.of(tiny.model, tiny.processor, OPTIONS, "tiny", look)
    model, processor, revision = weights.load(str(folders / family), OPTIONS)
    after = TransformersBackend.of(model, processor, OPTIONS, revision, look)
    found = asked(pictures=True)
    assert [c.text for c in after.complete(found)] == [c.text for c in before.complete(found)]
    assert after.sees_pictures == before.sees_pictures
    assert model.dtype == torch.float32


def test_a_backend_is_made_from_a_folders_name(folders):
    kind = TransformersBackend(str(folders / "llama"), OPTIONS)
    assert kind.revision.endswith("/float32")
    assert kind.complete(asked()[:1])[0].text


def test_an_adapter_changes_answers_and_revision(folders, adapter):
    plain = TransformersBackend(str(folders / "llama"), OPTIONS)
    tuned = TransformersBackend(f"{folders / 'llama'}@{adapter}", OPTIONS)
    assert plain.revision != tuned.revision
    one, two = (k.complete(asked()[:1])[0].option_logprobs for k in (plain, tuned))
    assert one != two


def test_an_adapter_without_safetensors_is_refused(folders, adapter, tmp_path):
    shutil.copy(adapter / "adapter_config.json", tmp_path)
    with pytest.raises(UserError, match="no adapter_model"):
        weights.load(f"{folders / 'llama'}@{tmp_path}", OPTIONS)


def test_an_adapter_of_another_base_is_refused(folders, adapter, tmp_path):
    pytest.importorskip("peft")
    shutil.copytree(adapter, tmp_path / "a")
    path = tmp_path / "a" / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "target_modules": ["nowhere"]}), "utf-8")
    with pytest.raises(UserError, match="does not fit"):
        weights.load(f"{folders / 'llama'}@{tmp_path / 'a'}", OPTIONS)


def test_the_revision_follows_the_bytes(folders, tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(folders / "llama", folder)
    first = weights.revision(folder)
    assert weights.revision(folder) == first
    (folder / "README.md").write_text("notes", "utf-8")
    assert weights.revision(folder) == first
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert weights.revision(folder) != first


def test_a_name_that_is_nowhere_is_refused_and_nothing_is_fetched():
    with pytest.raises(UserError, match="hf download nobody/nothing"):
        weights.load("nobody/nothing", OPTIONS)


def test_weights_that_are_no_safetensors_are_refused(folders, tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(folders / "llama", folder)
    (folder / "model.safetensors").unlink()
    torch.save(tiny_model("llama").model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickle"):
        weights.load(str(folder), OPTIONS)


def test_a_model_that_wants_its_own_code_is_refused(folders, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(folders / "llama", folder)
    path = folder / "config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings.update(model_type="own", auto_map={"AutoConfig": "code.Own"})
    path.write_text(json.dumps(settings), "utf-8")
    (folder / "code.py").write_text("raise SystemExit('code was run')", "utf-8")
    with pytest.raises(UserError, match="code"):
        weights.load(str(folder), OPTIONS)


def test_half_precision_is_loaded_as_asked(folders):
    model, _, revision = weights.load(
        str(folders / "llama"), BackendOptions(dtype="bfloat16", device="cpu")
    )
    assert model.dtype == torch.bfloat16
    assert revision.endswith("/bfloat16")
