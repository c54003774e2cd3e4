"""Cached features are verified before use; towers that cannot be cached are rejected."""

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.errors import UserError
from gen_msa.finetuning import feature_file
from gen_msa.finetuning.feature_cache import VisionTower
from tests.finetuning.counting_model import CountingModel, one_image_request


@pytest.fixture
def llava():
    return CountingModel("llava")


def truncated(data):
    return data[: len(data) // 2]


def bit_flipped(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def tensor_renamed(data):
    return data.replace(b"last_hidden_state", b"lost_hidden_state")


@pytest.mark.parametrize(
    "corrupt", [truncated, bit_flipped, tensor_renamed, lambda _: b"", lambda _: b"\x80\x04."]
)
def test_corrupt_file_is_detected_and_rebuilt(llava, tmp_path, corrupt):
    rows = llava.rows(one_image_request(1))
    first_cache = llava.open_cache(tmp_path)
    path = first_cache.path(llava.ensure(first_cache, rows)[0])
    original = path.read_bytes()
    path.write_bytes(corrupt(original))
    cache = llava.open_cache(tmp_path)
    llava.ensure(cache, rows)
    assert (cache.hits, cache.created, cache.rebuilt) == (0, 0, 1)
    assert path.read_bytes() == original
    assert "1 recomputed" in cache.summary()


def test_file_changed_during_the_run_is_an_error(llava, tmp_path):
    cache = llava.open_cache(tmp_path)
    keys = llava.ensure(cache, llava.rows(one_image_request(1)))
    path = cache.path(keys[0])
    path.write_bytes(bit_flipped(path.read_bytes()))
    with pytest.raises(UserError, match="missing or were changed"):
        cache.load(keys)
    path.unlink()
    with pytest.raises(UserError, match="missing or were changed"):
        cache.load(keys)


def test_tower_that_mixes_rows_is_rejected(llava, tmp_path):
    tower = VisionTower.from_model(llava.model).module
    original_forward = tower.forward

    def mixed_forward(pixel_values, **options):
        output = original_forward(pixel_values, **options)
        output.hidden_states = tuple(h if h is None else h * len(h) for h in output.hidden_states)
        output.last_hidden_state = output.last_hidden_state * len(output.last_hidden_state)
        return output

    tower.forward = mixed_forward
    cache = llava.open_cache(tmp_path)
    with pytest.raises(UserError, match="give other logits than the images"):
        llava.ensure(cache, llava.rows(one_image_request(1)))
    assert list(feature_file.feature_file_stats(tmp_path)) == []


def test_second_tower_call_per_batch_is_rejected(llava, tmp_path):
    cache = llava.open_cache(tmp_path)
    rows = llava.rows(one_image_request(1))
    cached = cache.load(llava.ensure(cache, rows))
    with cache.use_cached(cached):
        llava.logits(rows, cached.tensors)
        with pytest.raises(UserError, match="more than once"):
            llava.logits(rows, cached.tensors)


def test_tower_and_modes_are_restored_after_use_cached(llava, tmp_path):
    rows = llava.rows(one_image_request(1))
    cache = llava.open_cache(tmp_path)
    llava.model.train()
    tower = VisionTower.from_model(llava.model).module
    tower.eval()
    keys = llava.ensure(cache, rows)
    assert (llava.model.training, tower.training) == (True, False)
    with pytest.raises(ZeroDivisionError), cache.use_cached(cache.load(keys)):
        raise ZeroDivisionError
    tower_calls = llava.tower_calls
    llava.logits(rows)
    assert llava.tower_calls == tower_calls + 1


WRITE_SCRIPT = """
import sys, torch
from pathlib import Path
from gen_msa.finetuning import feature_file
structure, tensors = feature_file.flatten_output((torch.full((200, 300), float(sys.argv[2])),))
vision_features = feature_file.VisionFeatures(structure, dict(enumerate(tensors)), {}, {})
for _ in range(150):
    feature_file.write_features(Path(sys.argv[1]), vision_features)
"""


def test_concurrent_writes_of_a_file_are_atomic(tmp_path):
    path = tmp_path / "aa" / "aa.safetensors"
    run = [sys.executable, "-c", WRITE_SCRIPT, str(path)]
    writers = [subprocess.Popen([*run, value]) for value in ("1", "2")]
    values = set()
    while any(p.poll() is None for p in writers):
        if path.exists():
            tensor = feature_file.read_features(path).tensors[0]
            values.add(float(tensor.mean()))
            assert tensor.min() == tensor.max()
    assert [p.returncode for p in writers] == [0, 0]
    assert values <= {1.0, 2.0} != set()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
