"""The vision tower: the package's numbers, the promised tokens, and nothing that training moves."""

import copy
import importlib.util

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.towers.efficientnet_lite import Conv, Tower, TowerConfig, folded
from gen_msa.towers.packaged import VISION, efficientnet
from tests.builtin.tiny_parts import tiny_tower


@pytest.mark.parametrize("grid", [1, 2, 3, 8])
def test_a_picture_becomes_grid_by_grid_tokens_of_mean_0_and_variance_1(grid):
    out = tiny_tower(grid)(torch.randn(3, 3, 32, 32))
    tokens = out.last_hidden_state
    assert tokens.shape == (3, grid * grid, 24)
    assert torch.allclose(tokens.mean(-1), torch.zeros(3, grid * grid), atol=1e-5)
    assert torch.allclose(tokens.var(-1, correction=0), torch.ones(3, grid * grid), atol=1e-2)
    assert out.hidden_states[-1] is tokens


def test_tokens_run_row_by_row():
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., :16, 16:] = 3.0
    plain, marked = (tiny_tower()(p).last_hidden_state[0] for p in (0 * pixels, pixels))
    change = (marked - plain).abs().sum(-1)
    assert change.argmax() == 1


def test_training_mode_sees_what_evaluation_mode_sees_and_leaves_the_tower_as_it_was():
    tower = tiny_tower()
    before = copy.deepcopy(tower.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    quiet = tower(pixels).last_hidden_state
    tower.train()
    assert torch.equal(tower(pixels).last_hidden_state, quiet)
    assert not list(tower.buffers())
    assert all(torch.equal(before[n], w) for n, w in tower.state_dict().items())


def test_pictures_of_a_batch_do_not_see_one_another():
    tower, pixels = tiny_tower().train(), torch.randn(3, 3, 32, 32)
    together = tower(pixels).last_hidden_state
    alone = torch.cat([tower(p[None]).last_hidden_state for p in pixels])
    assert torch.allclose(together, alone, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(3, 20), kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]))
def test_a_convolution_divides_an_even_side_by_its_stride(size, kernel, stride):
    out = Conv(1, 1, max(kernel, stride), stride)(torch.zeros(1, 1, 2 * size, 2 * size))
    assert out.shape[-2:] == (2 * size // stride, 2 * size // stride)


def test_a_folded_convolution_is_convolution_and_batch_norm():
    conv, norm = torch.nn.Conv2d(3, 4, 3, 2, bias=False), torch.nn.BatchNorm2d(4, eps=1e-3).eval()
    with torch.no_grad():
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.normal_()
        norm.running_var.uniform_(0.1, 2)
    parts = {"_conv_stem": conv, "_bn0": norm, "_conv_head": conv, "_bn1": norm}
    state = folded({f"{k}.{n}": w for k, m in parts.items() for n, w in m.state_dict().items()})
    assert set(state) == {"stem.weight", "stem.bias", "head.weight", "head.bias"}
    pixels = torch.randn(2, 3, 9, 9)
    one = torch.nn.functional.conv2d(pixels, state["stem.weight"], state["stem.bias"], 2)
    assert torch.allclose(one, norm(conv(pixels)), atol=1e-5)


def test_auto_classes_know_the_tower_once_it_is_imported(tmp_path):
    assert isinstance(hf.AutoConfig.for_model("efficientnet_lite", grid=3), TowerConfig)
    tower = tiny_tower()
    tower.save_pretrained(tmp_path)
    read = hf.AutoModel.from_pretrained(tmp_path, local_files_only=True)
    assert isinstance(read, Tower)
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(read(pixels).last_hidden_state, tower(pixels).last_hidden_state)


def test_half_precision_takes_float32_pixels():
    tower = tiny_tower().to(torch.bfloat16)
    assert tower(torch.randn(1, 3, 32, 32)).last_hidden_state.dtype == torch.bfloat16


@pytest.mark.models
def test_the_tower_gives_the_feature_map_of_the_package_it_comes_from():
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        pytest.skip("efficientnet-lite-pytorch, the reference, is not installed")
    from efficientnet_lite_pytorch import EfficientNet

    packed = VISION.path()
    if packed is None:
        pytest.skip("the weights of EfficientNet-Lite0 are not installed")
    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(packed, map_location="cpu", weights_only=True))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = reference.extract_features(pixels)
        found = efficientnet(packed, 4).features(pixels)
    assert wanted.shape == (2, 1280, 7, 7)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
