"""The shipped adapter is merged and verified, and changes the predictor."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa import builtin
from gen_msa.api.explain import explain
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from tests.builtin.builders import random_image, tiny_builtin


def test_trained_weights_are_merged_and_recorded(trained_model, tmp_path):
    backend = make(PredictorSettings(model="builtin"), tmp_path)._backend
    assert builtin.adapter_folder() == tmp_path / "weights"
    assert "+" in backend.revision
    model, processor = backend.generator.engine.model, backend.generator.chat_tokenizer.processor
    inputs = processor(text=["<image>hi"], images=[[random_image()]], return_tensors="pt")
    with torch.inference_mode():
        logits, expected = model(**inputs).logits, trained_model(**inputs).logits
        base_logits = tiny_builtin(builtin.VISION_GRID)[0](**inputs).logits
    assert torch.allclose(logits, expected, atol=1e-4)
    assert not torch.allclose(logits, base_logits, atol=1e-2)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_user_adapter_is_given_after_the_colon(trained_model, tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "_ADAPTER_FOLDER", tmp_path / "elsewhere")
    base_backend = make(PredictorSettings(model="builtin"), tmp_path)._backend
    adapted_backend = make(
        PredictorSettings(model=f"builtin:{tmp_path / 'weights'}"), tmp_path
    )._backend
    assert adapted_backend.supports_images
    assert adapted_backend.revision.startswith(base_backend.revision.partition("/")[0] + "+")


def test_altered_trained_weights_are_rejected(trained_model, tmp_path):
    path = tmp_path / "weights" / "adapter_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match="was altered"):
        make(PredictorSettings(model="builtin"), tmp_path)


def test_untrained_builtin_model_gets_no_images(tiny, tmp_path):
    def prompt_and_image_support(predictor):
        return predictor.fingerprint()["settings"]["prompt"], predictor._backend.supports_images

    settings = PredictorSettings(model="builtin")
    assert prompt_and_image_support(make(settings, tmp_path)) == ("predict/shots", False)
    (tmp_path / "weights").mkdir()
    assert builtin.adapter_folder() is None


def test_trained_builtin_model_gets_images(trained_model, tmp_path):
    predictor = make(PredictorSettings(model="builtin"), tmp_path)
    assert predictor._backend.supports_images
    assert predictor.fingerprint()["settings"]["prompt"] == "predict/full"


def test_one_list_of_aspects_for_every_post(trained_model):
    texts = ["Far too expensive, but the Battery lasts", "I started with my battery low"]
    opinions = explain(texts, model="builtin", aspects=["price", "battery"])

    assert [(o.aspect.term, o.aspect.start) for o in opinions] == [
        ("price", None),
        ("Battery", 27),
        ("price", None),
        ("battery", 18),
    ]
    assert {o.provenance["aspect_source"] for o in opinions} == {"given"}
