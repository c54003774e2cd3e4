"""The feature cache of a frozen vision tower changes no result."""

import copy

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning import feature_file
from gen_msa.finetuning.feature_cache import VisionFeatureCache, VisionTower
from gen_msa.training.model_parts import find_model_parts, param_kind
from tests.backends.sample_requests import image_input
from tests.finetuning.counting_model import CountingModel, one_image_request, two_image_request
from tests.fixtures.tiny_models import VISION_FAMILIES, tiny_model


@pytest.fixture
def llava():
    return CountingModel("llava")


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_cached_features_give_the_same_logits(name, tmp_path):
    counting_model = CountingModel(name)
    rows = counting_model.rows(
        one_image_request(1),
        one_image_request(None),
        one_image_request(3, "a"),
        two_image_request(),
        one_image_request(2),
    )
    cache = counting_model.open_cache(tmp_path)
    keys = counting_model.ensure(cache, rows)
    assert counting_model.ensure(cache, rows) == keys
    with torch.no_grad():
        logits = counting_model.logits(rows)
        tower_calls = counting_model.tower_calls
        cached_logits = counting_model.cached_logits(cache, rows, keys)
        cached_text_logits = counting_model.cached_logits(cache, rows[1:2], [])
        text_logits = counting_model.logits(rows[1:2])
    assert (cache.created, cache.hits, counting_model.tower_calls) == (4, 0, tower_calls)
    assert torch.allclose(logits, cached_logits, atol=1e-5, rtol=0)
    assert torch.equal(cached_text_logits, text_logits)
    assert logits.std() > 0.1


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_second_run_reads_the_cache_only(name, tmp_path):
    counting_model = CountingModel(name)
    rows = counting_model.rows(one_image_request(1), two_image_request())
    counting_model.ensure(counting_model.open_cache(tmp_path), rows)
    counting_model.tower_calls = 0
    cache = counting_model.open_cache(tmp_path)
    keys = [cache.ensure(r.images, lambda: pytest.fail("decoded again")) for r in rows]
    with torch.no_grad():
        cached_logits = counting_model.cached_logits(cache, rows, keys)
    assert (cache.created, cache.hits, counting_model.tower_calls) == (0, 2, 0)
    assert torch.allclose(counting_model.logits(rows), cached_logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [n for n in VISION_FAMILIES if not n.startswith("qwen")])
def test_projector_gradients_are_equal_with_cache(name, tmp_path):
    counting_model = CountingModel(name)
    parts = find_model_parts(counting_model.model)
    projector_params = {
        n: p.requires_grad_()
        for n, p in counting_model.model.named_parameters()
        if param_kind(n, parts) == "projector"
    }
    rows = counting_model.rows(one_image_request(1), one_image_request(None), two_image_request())
    cache = counting_model.open_cache(tmp_path)
    keys = counting_model.ensure(cache, rows)
    gradients = []
    counting_model.model.train()
    for output in (counting_model.logits(rows), counting_model.cached_logits(cache, rows, keys)):
        output.log_softmax(-1)[..., 7].sum().backward()
        gradients.append(
            {n: p.grad.clone() for n, p in projector_params.items() if p.grad is not None}
        )
        counting_model.model.zero_grad(set_to_none=True)
    assert gradients[0].keys() == gradients[1].keys() != set()
    for n, gradient in gradients[0].items():
        scale = float(gradient.abs().max())
        assert torch.allclose(gradient, gradients[1][n], atol=1e-5 * max(scale, 1.0), rtol=0)
    assert any(float(s.abs().max()) > 0 for s in gradients[0].values())


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_projector_inside_the_tower_cannot_be_trained(name, tmp_path):
    counting_model = CountingModel(name)
    counting_model.model.model.visual.merger.requires_grad_(True)
    with pytest.raises(UserError, match="train_projector: false"):
        counting_model.open_cache(tmp_path)


def test_trainable_tower_is_rejected(llava, tmp_path):
    next(VisionTower.from_model(llava.model).module.parameters()).requires_grad_(True)
    with pytest.raises(UserError, match="train_vision: false"):
        llava.open_cache(tmp_path)


def test_model_without_vision_tower_is_rejected(tmp_path):
    with pytest.raises(UserError, match="has none"):
        VisionFeatureCache(tiny_model("llama").model, tiny_model("llava").processor, tmp_path)


def test_only_used_outputs_are_stored(tmp_path):
    counting_model = CountingModel("qwen3_vl")
    cache = counting_model.open_cache(tmp_path)
    key = counting_model.ensure(cache, counting_model.rows(one_image_request(1)))[0]
    vision_features = feature_file.read_features(cache.path(key))
    parts = vision_features.structure["of"]
    assert [p["number"] in vision_features.tensors for p in parts["deepstack_features"]["of"]] == [
        True,
        True,
    ]
    assert parts["pooler_output"]["number"] in vision_features.tensors
    assert parts["last_hidden_state"]["number"] not in vision_features.tensors
    assert set(vision_features.stored_inputs) == {"image_grid_thw"}
    assert set(vision_features.constant_inputs) == {"pixel_values"}


def test_cache_key_depends_on_image_processor_and_weights(llava, tmp_path):
    cache = llava.open_cache(tmp_path)
    base = image_input(1)
    small = base.model_copy(update={"max_pixels": 5_000})
    keys = [cache.key(p) for p in [(base,), (small,), (image_input(2),), (base, base)]]
    processor = copy.deepcopy(llava.processor)
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    keys.append(VisionFeatureCache(llava.model, processor, tmp_path).key((base,)))
    keys.append(
        VisionFeatureCache(llava.model, llava.processor, tmp_path, autocast=torch.bfloat16).key(
            (base,)
        )
    )
    llava.model.config.vision_feature_layer = -2
    keys.append(llava.open_cache(tmp_path).key((base,)))
    llava.model.config.vision_feature_layer = -1
    with torch.no_grad():
        next(VisionTower.from_model(llava.model).module.parameters()).add_(1e-3)
    keys.append(llava.open_cache(tmp_path).key((base,)))
    assert len(set(keys)) == len(keys)


def test_cache_key_ignores_weights_outside_the_tower(llava, tmp_path):
    before = llava.open_cache(tmp_path).key((image_input(1),))
    with torch.no_grad():
        llava.model.lm_head.weight.add_(1.0)
    assert llava.open_cache(tmp_path).key((image_input(1),)) == before
