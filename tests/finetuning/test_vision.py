"""The memory of a frozen vision tower changes nothing but the time."""

import copy

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning import features
from gen_msa.finetuning.parts import kind_of, parts_of
from gen_msa.finetuning.tower import Tower
from gen_msa.finetuning.vision import Memory
from tests.backends.chats import picture
from tests.finetuning.shown import Bench, one, pair
from tests.fixtures.tiny_models import PICTURED, tiny_model


@pytest.fixture
def llava():
    return Bench("llava")


@pytest.mark.parametrize("name", PICTURED)
def test_recalled_scores_are_those_of_seeing(name, tmp_path):
    bench = Bench(name)
    rows = bench.rows(one(1), one(None), one(3, "a"), pair(), one(2))
    memory = bench.memory(tmp_path)
    keys = bench.keep(memory, rows)
    assert bench.keep(memory, rows) == keys
    with torch.no_grad():
        seen = bench.logits(rows)
        ran = bench.runs
        again = bench.recalled(memory, rows, keys)
        text = bench.recalled(memory, rows[1:2], [])
        alone = bench.logits(rows[1:2])
    assert (memory.made, memory.found, bench.runs) == (4, 0, ran)
    assert torch.allclose(seen, again, atol=1e-5, rtol=0)
    assert torch.equal(text, alone)
    assert seen.std() > 0.1


@pytest.mark.parametrize("name", PICTURED)
def test_a_second_run_decodes_nothing_and_never_calls_the_tower(name, tmp_path):
    bench = Bench(name)
    rows = bench.rows(one(1), pair())
    bench.keep(bench.memory(tmp_path), rows)
    bench.runs = 0
    memory = bench.memory(tmp_path)
    keys = [memory.keep(r.pictures, lambda: pytest.fail("decoded again")) for r in rows]
    with torch.no_grad():
        again = bench.recalled(memory, rows, keys)
    assert (memory.made, memory.found, bench.runs) == (0, 2, 0)
    assert torch.allclose(bench.logits(rows), again, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [n for n in PICTURED if not n.startswith("qwen")])
def test_the_projector_learns_the_same_with_and_without(name, tmp_path):
    bench = Bench(name)
    parts = parts_of(bench.model)
    own = {
        n: p.requires_grad_()
        for n, p in bench.model.named_parameters()
        if kind_of(n, parts) == "projector"
    }
    rows = bench.rows(one(1), one(None), pair())
    memory = bench.memory(tmp_path)
    keys = bench.keep(memory, rows)
    slopes = []
    bench.model.train()
    for told in (bench.logits(rows), bench.recalled(memory, rows, keys)):
        told.log_softmax(-1)[..., 7].sum().backward()
        slopes.append({n: p.grad.clone() for n, p in own.items() if p.grad is not None})
        bench.model.zero_grad(set_to_none=True)
    assert slopes[0].keys() == slopes[1].keys() != set()
    for n, slope in slopes[0].items():
        scale = float(slope.abs().max())
        assert torch.allclose(slope, slopes[1][n], atol=1e-5 * max(scale, 1.0), rtol=0)
    assert any(float(s.abs().max()) > 0 for s in slopes[0].values())


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_a_projector_inside_the_tower_cannot_be_trained_with_it(name, tmp_path):
    bench = Bench(name)
    bench.model.model.visual.merger.requires_grad_(True)
    with pytest.raises(UserError, match="train_projector: false"):
        bench.memory(tmp_path)


def test_a_tower_that_is_trained_is_refused(llava, tmp_path):
    next(Tower.of(llava.model).module.parameters()).requires_grad_(True)
    with pytest.raises(UserError, match="train_vision: false"):
        llava.memory(tmp_path)


def test_a_model_without_eyes_is_refused(tmp_path):
    with pytest.raises(UserError, match="has none"):
        Memory(tiny_model("llama").model, tiny_model("llava").processor, tmp_path)


def test_only_what_the_model_uses_is_kept(tmp_path):
    bench = Bench("qwen3_vl")
    memory = bench.memory(tmp_path)
    key = bench.keep(memory, bench.rows(one(1)))[0]
    kept = features.read(memory.path(key))
    parts = kept.form["of"]
    assert [p["number"] in kept.tensors for p in parts["deepstack_features"]["of"]] == [True, True]
    assert parts["pooler_output"]["number"] in kept.tensors
    assert parts["last_hidden_state"]["number"] not in kept.tensors
    assert set(kept.inputs) == {"image_grid_thw"}
    assert set(kept.sizes) == {"pixel_values"}


def test_other_pictures_budgets_settings_and_weights_have_features_of_their_own(llava, tmp_path):
    memory = llava.memory(tmp_path)
    base = picture(1)
    small = base.model_copy(update={"max_pixels": 5_000})
    keys = [memory.key(p) for p in [(base,), (small,), (picture(2),), (base, base)]]
    processor = copy.deepcopy(llava.processor)
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    keys.append(Memory(llava.model, processor, tmp_path).key((base,)))
    keys.append(
        Memory(llava.model, llava.processor, tmp_path, autocast=torch.bfloat16).key((base,))
    )
    llava.model.config.vision_feature_layer = -2
    keys.append(llava.memory(tmp_path).key((base,)))
    llava.model.config.vision_feature_layer = -1
    with torch.no_grad():
        next(Tower.of(llava.model).module.parameters()).add_(1e-3)
    keys.append(llava.memory(tmp_path).key((base,)))
    assert len(set(keys)) == len(keys)


def test_what_is_trained_beside_the_tower_changes_no_key(llava, tmp_path):
    before = llava.memory(tmp_path).key((picture(1),))
    with torch.no_grad():
        llava.model.lm_head.weight.add_(1.0)
    assert llava.memory(tmp_path).key((picture(1),)) == before
