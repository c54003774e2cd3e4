"""The model of a recipe: the right one, as the recipe wants it; anything else is refused."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends.local import weights
from gen_msa.errors import UserError
from gen_msa.finetuning.opening import open_model
from tests.finetuning.adapted import inputs, logits, recipe
from tests.fixtures.tiny_models import tiny_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for family in ("llama", "idefics3"):
        tiny = tiny_model(family)
        tiny.model.save_pretrained(root / family)
        tiny.processor.save_pretrained(root / family)
    return root


def opened(folder, **settings):
    return open_model(recipe(model_name_or_path=str(folder), device="cpu", **settings))


@pytest.mark.parametrize("family", ["llama", "idefics3"])
def test_it_is_the_model_of_the_folder_with_its_processor_and_hash(folders, family):
    found = opened(folders / family)
    tiny, given = tiny_model(family), inputs(family)
    assert torch.equal(logits(found.model, given), logits(tiny.model, given))
    assert type(found.processor) is type(tiny.processor)
    assert found.folder == folders / family
    assert found.base_hash == weights.revision(folders / family)
    assert not found.model.config.get_text_config().use_cache


def test_the_hash_follows_the_weights(folders, tmp_path):
    for path in (folders / "llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    same = opened(tmp_path).base_hash
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**told, "rms_norm_eps": 1e-3}))
    assert same == opened(folders / "llama").base_hash != opened(tmp_path).base_hash


def test_precision_and_attention_are_the_recipes(folders):
    usual = opened(folders / "llama").model
    asked = opened(folders / "llama", dtype="bfloat16", attn_implementation="eager").model
    assert (usual.dtype, usual.config._attn_implementation) == (torch.float32, "sdpa")
    assert (asked.dtype, asked.config._attn_implementation) == (torch.bfloat16, "eager")


def test_half_precision_without_loss_scaling_is_refused(folders):
    with pytest.raises(UserError, match="float16 loses small gradients"):
        opened(folders / "llama", dtype="float16")


def test_an_adapter_is_no_base(folders):
    with pytest.raises(UserError, match="not on another adapter"):
        opened(f"{folders / 'llama'}@{folders / 'idefics3'}")


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(UserError, match="no/such-model"):
        opened("no/such-model")
