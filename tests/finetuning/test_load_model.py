"""The model of a recipe is loaded as configured; anything else is rejected."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends.hf import weights
from gen_msa.errors import UserError
from gen_msa.finetuning.peft_model import load_model
from tests.finetuning.tiny_peft import build_recipe, logits, model_inputs
from tests.fixtures.tiny_models import tiny_model


@pytest.fixture(scope="module")
def model_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for family in ("llama", "idefics3"):
        tiny = tiny_model(family)
        tiny.model.save_pretrained(root / family)
        tiny.processor.save_pretrained(root / family)
    return root


def load_tiny_model(folder, **settings):
    return load_model(build_recipe(model_name_or_path=str(folder), device="cpu", **settings))


@pytest.mark.parametrize("family", ["llama", "idefics3"])
def test_load_model_returns_model_processor_and_hash(model_folders, family):
    loaded = load_tiny_model(model_folders / family)
    tiny, batch = tiny_model(family), model_inputs(family)
    assert torch.equal(logits(loaded.model, batch), logits(tiny.model, batch))
    assert type(loaded.processor) is type(tiny.processor)
    assert loaded.folder == model_folders / family
    assert loaded.base_hash == weights.folder_revision(model_folders / family)
    assert not loaded.model.config.get_text_config().use_cache


def test_base_hash_follows_the_model_folder(model_folders, tmp_path):
    for path in (model_folders / "llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copied_hash = load_tiny_model(tmp_path).base_hash
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert (
        copied_hash
        == load_tiny_model(model_folders / "llama").base_hash
        != load_tiny_model(tmp_path).base_hash
    )


def test_dtype_and_attention_follow_the_recipe(model_folders):
    default = load_tiny_model(model_folders / "llama").model
    configured = load_tiny_model(
        model_folders / "llama", dtype="bfloat16", attn_implementation="eager"
    ).model
    assert (default.dtype, default.config._attn_implementation) == (torch.float32, "sdpa")
    assert (configured.dtype, configured.config._attn_implementation) == (torch.bfloat16, "eager")


def test_float16_is_rejected(model_folders):
    with pytest.raises(UserError, match="float16 loses small gradients"):
        load_tiny_model(model_folders / "llama", dtype="float16")


def test_adapter_as_base_is_rejected(model_folders):
    with pytest.raises(UserError, match="not on another adapter"):
        load_tiny_model(f"{model_folders / 'llama'}@{model_folders / 'idefics3'}")


def test_missing_model_is_named():
    with pytest.raises(UserError, match="no/such-model"):
        load_tiny_model("no/such-model")
