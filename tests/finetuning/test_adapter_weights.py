"""A reloaded adapter or full model gives the logits that it had after training."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
from peft import PeftModel

from gen_msa.finetuning.peft_model import set_use_cache, write_adapter_weights
from tests.finetuning.tiny_peft import copy_tiny_model, logits, model_inputs, tiny_peft_model, train
from tests.fixtures.tiny_models import FAMILIES, VISION_FAMILIES

TRAIN_VISION_AND_PROJECTOR = {"train_vision": True, "train_projector": True}


@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_reloads_and_merges_within_tolerance(family, tmp_path):
    model, recipe = tiny_peft_model(
        family, **(TRAIN_VISION_AND_PROJECTOR if family in VISION_FAMILIES else {})
    )
    batch = model_inputs(family)
    logits_before = logits(model, batch)
    train(model.train(), recipe, batch)
    logits_after = logits(model, batch)
    write_adapter_weights(model, tmp_path)
    reloaded = PeftModel.from_pretrained(copy_tiny_model(family), tmp_path)
    torch.testing.assert_close(logits(reloaded, batch), logits_after, rtol=0, atol=1e-5)
    assert (logits_after - logits_before).abs().max() > 0.01
    merged = reloaded.merge_and_unload()
    assert (logits(merged, batch) - logits_after).abs().max() <= 1e-5 * logits_after.abs().max()
    files = {p.name for p in tmp_path.iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}


def test_full_model_reloads_identically_with_use_cache(tmp_path):
    model, recipe = tiny_peft_model("llava", finetuning_type="full", **TRAIN_VISION_AND_PROJECTOR)
    set_use_cache(model, False)  # as a model is opened for training
    batch = model_inputs("llava")
    train(model, recipe, batch)
    write_adapter_weights(model, tmp_path)
    reloaded = type(model).from_pretrained(tmp_path)
    assert torch.equal(logits(reloaded, batch), logits(model, batch))
    assert reloaded.config.get_text_config().use_cache
    assert not model.config.get_text_config().use_cache
