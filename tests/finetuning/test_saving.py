"""An adapter or a whole model says the same when read back as when it was trained."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
from peft import PeftModel

from gen_msa.finetuning.adapting import save_adapter
from gen_msa.finetuning.opening import use_cache
from tests.finetuning.adapted import adapted, fresh, inputs, logits, train
from tests.fixtures.tiny_models import FAMILIES, PICTURED

BOTH = {"train_vision": True, "train_projector": True}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_reads_back_without_any_difference_and_merges_to_1e_5(family, tmp_path):
    model, said = adapted(family, **(BOTH if family in PICTURED else {}))
    given = inputs(family)
    untrained = logits(model, given)
    train(model.train(), said, given)
    trained = logits(model, given)
    save_adapter(model, tmp_path)
    again = PeftModel.from_pretrained(fresh(family), tmp_path)
    assert torch.equal(logits(again, given), trained)
    assert (trained - untrained).abs().max() > 0.01
    merged = again.merge_and_unload()
    assert (logits(merged, given) - trained).abs().max() <= 1e-5 * trained.abs().max()
    files = {p.name for p in tmp_path.iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}


def test_a_whole_model_reads_back_without_any_difference_and_keeps_its_cache(tmp_path):
    model, said = adapted("llava", finetuning_type="full", **BOTH)
    use_cache(model, False)  # as a model is opened for training
    given = inputs("llava")
    train(model, said, given)
    save_adapter(model, tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(logits(again, given), logits(model, given))
    assert again.config.get_text_config().use_cache
    assert not model.config.get_text_config().use_cache
