"""The vision encoder gives the features of the reference as normalized tokens, in any mode."""

import copy
import importlib.util

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.encoders.vision.base import EFFICIENTNET_LITE0, load_efficientnet
from gen_msa.encoders.vision.efficientnet_layers import Conv
from gen_msa.encoders.vision.efficientnet_lite import (
    EfficientNetLite,
    EfficientNetLiteConfig,
    fold_batch_norms,
)
from tests.builtin.builders import tiny_vision_encoder


@pytest.mark.parametrize("grid", [1, 2, 3, 8])
def test_image_becomes_a_grid_of_normalized_tokens(grid):
    out = tiny_vision_encoder(grid)(torch.randn(3, 3, 32, 32))
    tokens = out.last_hidden_state
    assert tokens.shape == (3, grid * grid, 24)
    assert torch.allclose(tokens.mean(-1), torch.zeros(3, grid * grid), atol=1e-5)
    assert torch.allclose(tokens.var(-1, correction=0), torch.ones(3, grid * grid), atol=1e-2)
    assert out.hidden_states[-1] is tokens


def test_tokens_run_row_by_row():
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., :16, 16:] = 3.0
    baseline, modified = (
        tiny_vision_encoder()(p).last_hidden_state[0] for p in (0 * pixels, pixels)
    )
    change = (modified - baseline).abs().sum(-1)
    assert change.argmax() == 1


def test_training_mode_equals_evaluation_mode():
    encoder = tiny_vision_encoder()
    before = copy.deepcopy(encoder.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    expected = encoder(pixels).last_hidden_state
    encoder.train()
    assert torch.equal(encoder(pixels).last_hidden_state, expected)
    assert not list(encoder.buffers())
    assert all(torch.equal(before[n], w) for n, w in encoder.state_dict().items())


def test_images_of_a_batch_are_independent():
    encoder, pixels = tiny_vision_encoder().train(), torch.randn(3, 3, 32, 32)
    batched = encoder(pixels).last_hidden_state
    single = torch.cat([encoder(p[None]).last_hidden_state for p in pixels])
    assert torch.allclose(batched, single, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(3, 20), kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]))
def test_convolution_divides_an_even_side_by_its_stride(size, kernel, stride):
    out = Conv(1, 1, max(kernel, stride), stride)(torch.zeros(1, 1, 2 * size, 2 * size))
    assert out.shape[-2:] == (2 * size // stride, 2 * size // stride)


def test_folded_convolution_equals_convolution_and_batch_norm():
    conv, norm = torch.nn.Conv2d(3, 4, 3, 2, bias=False), torch.nn.BatchNorm2d(4, eps=1e-3).eval()
    with torch.no_grad():
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.normal_()
        norm.running_var.uniform_(0.1, 2)
    parts = {"_conv_stem": conv, "_bn0": norm, "_conv_head": conv, "_bn1": norm}
    state = fold_batch_norms(
        {f"{k}.{n}": w for k, m in parts.items() for n, w in m.state_dict().items()}
    )
    assert set(state) == {"stem.weight", "stem.bias", "head.weight", "head.bias"}
    pixels = torch.randn(2, 3, 9, 9)
    output = torch.nn.functional.conv2d(pixels, state["stem.weight"], state["stem.bias"], 2)
    assert torch.allclose(output, norm(conv(pixels)), atol=1e-5)


def test_auto_classes_know_the_imported_encoder(tmp_path):
    assert isinstance(hf.AutoConfig.for_model("efficientnet_lite", grid=3), EfficientNetLiteConfig)
    encoder = tiny_vision_encoder()
    encoder.save_pretrained(tmp_path)
    loaded = hf.AutoModel.from_pretrained(tmp_path, local_files_only=True)
    assert isinstance(loaded, EfficientNetLite)
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded(pixels).last_hidden_state, encoder(pixels).last_hidden_state)


def test_half_precision_accepts_float32_pixels():
    encoder = tiny_vision_encoder().to(torch.bfloat16)
    assert encoder(torch.randn(1, 3, 32, 32)).last_hidden_state.dtype == torch.bfloat16


@pytest.mark.models
def test_features_match_the_reference_package():
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        pytest.skip("efficientnet-lite-pytorch, the reference, is not installed")
    from efficientnet_lite_pytorch import EfficientNet

    weights_path = EFFICIENTNET_LITE0.path()
    if weights_path is None:
        pytest.skip("the weights of EfficientNet-Lite0 are not installed")
    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(weights_path, map_location="cpu", weights_only=True))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = reference.extract_features(pixels)
        features = load_efficientnet(weights_path, 4).features(pixels)
    assert expected.shape == (2, 1280, 7, 7)
    assert (features - expected).abs().max() < 1e-4 * expected.abs().max()
