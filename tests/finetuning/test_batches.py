"""An epoch loses no post, bucketing changes only batch composition, optimizations keep the loss."""

import threading
from collections import Counter

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.finetuning import batches
from gen_msa.finetuning.loop import FinetuneRun
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.prefetch import prefetch
from tests.finetuning.run_recipes import build_recipe, save_tiny_model

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=90)


def batch_recipe(weights=(1.0,), *, size=2, accumulate=1, seed=0, bucketing=True):
    """A recipe of one source for each weight."""
    return FinetuneRecipe(
        model_name_or_path="tiny",
        output_dir="out",
        data=[{"source": f"{i}.jsonl", "weight": w} for i, w in enumerate(weights)],
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulate,
        seed=seed,
        optimizations={"bucketing": bucketing},
    )


def flatten(steps):
    return [i for step in steps for i in step]


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_each_epoch_contains_every_post_once(lengths, size, accumulate, processes, bucketing):
    recipe = batch_recipe(size=size, accumulate=accumulate, bucketing=bucketing)
    steps = batches.epoch_steps(lengths, [0] * len(lengths), recipe, 3, processes)
    assert sorted(flatten(steps)) == list(range(len(lengths)))
    step_posts = size * accumulate * processes
    assert sorted(map(len, steps))[1:] == [step_posts] * (len(steps) - 1)
    shares_per_step = [
        [batches.rank_batches(step, recipe, rank, processes) for rank in range(processes)]
        for step in steps
    ]
    for step, rank_shares in zip(steps, shares_per_step, strict=True):
        assert sorted(
            i for rank_batches in rank_shares for batch in rank_batches for i in batch
        ) == sorted(step)
        assert len({len(rank_batches) for rank_batches in rank_shares}) == 1
        assert max(len(batch) for rank_batches in rank_shares for batch in rank_batches) <= size
    repeated = batches.epoch_steps(lengths, [0] * len(lengths), recipe, 3, processes)
    assert steps == repeated


@pytest.mark.parametrize(("weight", "n_draws"), [(0.5, 10), (1.0, 20), (2.0, 40), (2.25, 45)])
def test_source_weight_sets_draws_per_epoch(weight, n_draws):
    sources = [0] * 20 + [1] * 20
    recipe = batch_recipe((1.0, weight))
    epoch_counts = [
        Counter(flatten(batches.epoch_steps([9] * 40, sources, recipe, n))) for n in range(8)
    ]
    for count in epoch_counts:
        assert sum(count[i] for i in range(20)) == 20
        weighted_counts = [count[i] for i in range(20, 40)]
        assert sum(weighted_counts) == n_draws
        assert max(weighted_counts) - min(weighted_counts) <= 1
    if weight % 1:
        assert len({tuple(sorted(c.items())) for c in epoch_counts}) > 1


def test_bucketing_changes_only_batch_composition():
    lengths = [(i * 37) % 101 + 1 for i in range(64)]
    results = {}
    for bucketing in (True, False):
        steps = batches.epoch_steps(lengths, [0] * 64, batch_recipe(size=4, bucketing=bucketing), 0)
        results[bucketing] = (
            sum(max(lengths[i] for i in s) * len(s) for s in steps),
            Counter(flatten(steps)),
        )
    assert results[True][1] == results[False][1]
    # And it does something: far less padding.
    assert results[True][0] - sum(lengths) < 0.25 * (results[False][0] - sum(lengths))


def test_order_depends_on_epoch_and_seed_only():
    def order(seed, number):
        return flatten(batches.epoch_steps([5] * 30, [0] * 30, batch_recipe(seed=seed), number))

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(1, 2) == order(1, 2)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


def make_run(model, folder, **overrides):
    return FinetuneRun(build_recipe(model, folder, **overrides))


def first_step_result(run, done=0):
    """Loss and gradient norm of the step after `done`, without an update."""
    step = next(run.sampler.remaining_steps(done))
    result = run.train_step.backward(run.sampler.step_batches(step))
    grad_norm = run.train_step._clip_gradients()
    run.train_step.optimizer.zero_grad(set_to_none=True)
    return result.loss, grad_norm, result.tokens


def test_sampler_resumes_where_it_stopped(llama, tmp_path):
    run = make_run(llama, tmp_path, limit=9, max_steps=-1, num_train_epochs=2.5)
    epoch_steps = run.sampler.epoch_steps
    assert run.steps == -(-epoch_steps * 5 // 2)
    all_steps = list(run.sampler.remaining_steps(0))
    assert len(all_steps) == run.steps
    for done in range(run.steps + 1):
        assert list(run.sampler.remaining_steps(done)) == all_steps[done:]
    assert Counter(flatten(all_steps[:epoch_steps])) == Counter(range(len(run.prepared.sequences)))


def test_source_weights_that_leave_no_post_are_rejected(llama, tmp_path):
    data = [{"source": "tiny", "prompt": "predict/brief", "limit": 6, "weight": 0.01}]
    with pytest.raises(UserError, match="leave no post for an epoch"):
        make_run(llama, tmp_path, data=data)


def test_gradient_accumulation_equals_one_larger_batch(llama, tmp_path):
    results = [
        first_step_result(make_run(llama, tmp_path, per_device_train_batch_size=size, **overrides))
        for size, overrides in (
            (4, {}),
            (2, {"gradient_accumulation_steps": 2}),
            (1, {"gradient_accumulation_steps": 4}),
        )
    ]
    for loss, norm, tokens in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-6)
        assert norm == pytest.approx(results[0][1], rel=1e-5)
        assert tokens == results[0][2]


def test_prefix_packing_feeds_fewer_tokens_for_the_same_loss(llama, tmp_path):
    packed = first_step_result(make_run(llama, tmp_path))
    separate = first_step_result(make_run(llama, tmp_path, optimizations={"prefix_packing": False}))
    assert packed[:2] == pytest.approx(separate[:2], rel=1e-5)
    assert packed[2] < 0.9 * separate[2]


def test_prefetch_produces_the_same_items_in_its_own_thread():
    def produce(names):
        for i in range(5):
            names.append(threading.current_thread().name)
            yield i

    for buffer_size, thread in ((0, "MainThread"), (2, "prefetch")):
        names = []
        assert list(prefetch(produce(names), buffer_size)) == list(range(5))
        assert set(names) == {thread}


def test_prefetch_raises_errors_at_the_consumer():
    def broken():
        yield 1
        raise UserError("the image of post 2 is gone")

    stream = prefetch(broken(), 2)
    assert next(stream) == 1
    with pytest.raises(UserError, match="post 2"):
        next(stream)


def test_closed_prefetch_leaves_no_thread():
    def endless():
        while True:
            yield 0

    stream = prefetch(endless(), 1)
    assert next(stream) == 0
    stream.close()
    assert "batches" not in {t.name for t in threading.enumerate()}


def test_feature_cache_keeps_loss_and_skips_the_tower(tmp_path):
    model = save_tiny_model(tmp_path / "llava", "llava")
    calls = []
    results = []
    for cache in ("", str(tmp_path / "features")):
        run = make_run(model, tmp_path / "out", optimizations={"feature_cache": cache})
        tower = run.loaded.model.model.vision_tower
        calls.clear()
        leaf_module = next(m for m in tower.modules() if not list(m.children()))
        leaf_module.register_forward_pre_hook(lambda *_: calls.append(1))
        results.append((*first_step_result(run)[:2], len(calls)))
    (loss, norm, tower_calls), (cached_loss, cached_norm, cached_tower_calls) = results
    assert (tower_calls > 0, cached_tower_calls) == (True, 0)
    assert cached_loss == pytest.approx(loss, rel=1e-5)
    assert cached_norm == pytest.approx(norm, rel=1e-4)
