"""An epoch loses no post, bucketing only decides who meets, and levers change no loss."""

import threading
from collections import Counter

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.feeding import ahead
from gen_msa.finetuning import batches
from gen_msa.finetuning.loop import Run
from gen_msa.finetuning.recipe import Recipe
from tests.finetuning.running import base, recipe

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=90)


def planned(weights=(1.0,), *, size=2, accumulate=1, seed=0, bucketing=True):
    """A recipe of one source for each weight."""
    return Recipe(
        model_name_or_path="tiny",
        output_dir="out",
        data=[{"source": f"{i}.jsonl", "weight": w} for i, w in enumerate(weights)],
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulate,
        seed=seed,
        levers={"bucketing": bucketing},
    )


def flat(steps):
    return [i for step in steps for i in step]


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_every_post_is_learned_once_an_epoch(lengths, size, accumulate, processes, bucketing):
    said = planned(size=size, accumulate=accumulate, bucketing=bucketing)
    steps = batches.epoch(lengths, [0] * len(lengths), said, 3, processes)
    assert sorted(flat(steps)) == list(range(len(lengths)))
    whole = size * accumulate * processes
    assert sorted(map(len, steps))[1:] == [whole] * (len(steps) - 1)
    shares = [
        [batches.share(step, said, rank, processes) for rank in range(processes)] for step in steps
    ]
    for step, share in zip(steps, shares, strict=True):
        assert sorted(i for mine in share for part in mine for i in part) == sorted(step)
        assert len({len(mine) for mine in share}) == 1
        assert max(len(part) for mine in share for part in mine) <= size
    again = batches.epoch(lengths, [0] * len(lengths), said, 3, processes)
    assert steps == again


@pytest.mark.parametrize(("weight", "times"), [(0.5, 10), (1.0, 20), (2.0, 40), (2.25, 45)])
def test_a_sources_weight_is_how_often_an_epoch_takes_its_posts(weight, times):
    sources = [0] * 20 + [1] * 20
    said = planned((1.0, weight))
    found = [Counter(flat(batches.epoch([9] * 40, sources, said, n))) for n in range(8)]
    for count in found:
        assert sum(count[i] for i in range(20)) == 20
        mine = [count[i] for i in range(20, 40)]
        assert sum(mine) == times
        assert max(mine) - min(mine) <= 1
    if weight % 1:
        assert len({tuple(sorted(c.items())) for c in found}) > 1


def test_bucketing_changes_only_which_posts_meet():
    lengths = [(i * 37) % 101 + 1 for i in range(64)]
    found = {}
    for on in (True, False):
        steps = batches.epoch(lengths, [0] * 64, planned(size=4, bucketing=on), 0)
        found[on] = sum(max(lengths[i] for i in s) * len(s) for s in steps), Counter(flat(steps))
    assert found[True][1] == found[False][1]
    # And it does something: far less padding.
    assert found[True][0] - sum(lengths) < 0.25 * (found[False][0] - sum(lengths))


def test_epochs_differ_and_so_do_seeds_but_a_seeds_epochs_do_not():
    def order(seed, number):
        return flat(batches.epoch([5] * 30, [0] * 30, planned(seed=seed), number))

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(1, 2) == order(1, 2)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return base(tmp_path_factory.mktemp("models") / "llama")


def run_of(model, folder, **given):
    return Run(recipe(model, folder, **given))


def first(run, done=0):
    """Loss and gradient norm of the step after `done`, without an update."""
    step = next(run.planner.left(done))
    told = run.stepper.backward(run.planner.batches(step))
    norm = run.stepper._clipped()
    run.stepper.optimizer.zero_grad(set_to_none=True)
    return told.loss, norm, told.tokens


def test_a_planner_goes_on_where_it_stopped(llama, tmp_path):
    run = run_of(llama, tmp_path, limit=9, max_steps=-1, num_train_epochs=2.5)
    epoch = run.planner.epoch_steps
    assert run.steps == -(-epoch * 5 // 2)
    whole = list(run.planner.left(0))
    assert len(whole) == run.steps
    for done in range(run.steps + 1):
        assert list(run.planner.left(done)) == whole[done:]
    assert Counter(flat(whole[:epoch])) == Counter(range(len(run.prepared.lines)))


def test_weights_that_leave_no_post_are_refused_not_waited_for(llama, tmp_path):
    data = [{"source": "tiny", "prompt": "reader/brief", "limit": 6, "weight": 0.01}]
    with pytest.raises(UserError, match="leave no post to learn from"):
        run_of(llama, tmp_path, data=data)


def test_accumulated_batches_are_one_larger_batch(llama, tmp_path):
    found = [
        first(run_of(llama, tmp_path, per_device_train_batch_size=size, **more))
        for size, more in (
            (4, {}),
            (2, {"gradient_accumulation_steps": 2}),
            (1, {"gradient_accumulation_steps": 4}),
        )
    ]
    for loss, norm, tokens in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        assert norm == pytest.approx(found[0][1], rel=1e-5)
        assert tokens == found[0][2]


def test_branches_feed_fewer_tokens_for_the_same_loss(llama, tmp_path):
    on = first(run_of(llama, tmp_path))
    off = first(run_of(llama, tmp_path, levers={"branches": False}))
    assert on[:2] == pytest.approx(off[:2], rel=1e-5)
    assert on[2] < 0.9 * off[2]


def test_prefetching_makes_batches_in_a_thread_of_its_own_and_changes_none():
    def made(names):
        for i in range(5):
            names.append(threading.current_thread().name)
            yield i

    for ready, thread in ((0, "MainThread"), (2, "ahead")):
        names = []
        assert list(ahead(made(names), ready)) == list(range(5))
        assert set(names) == {thread}


def test_an_error_while_prefetching_is_raised_where_the_batch_is_taken():
    def broken():
        yield 1
        raise UserError("the picture of post 2 is gone")

    feed = ahead(broken(), 2)
    assert next(feed) == 1
    with pytest.raises(UserError, match="post 2"):
        next(feed)


def test_a_feed_that_is_closed_leaves_no_thread_behind():
    def endless():
        while True:
            yield 0

    feed = ahead(endless(), 1)
    assert next(feed) == 0
    feed.close()
    assert "batches" not in {t.name for t in threading.enumerate()}


def test_remembered_pictures_change_no_loss_and_are_not_looked_at_again(tmp_path):
    model = base(tmp_path / "llava", "llava")
    calls = []
    found = []
    for cache in ("", str(tmp_path / "features")):
        run = run_of(model, tmp_path / "out", levers={"feature_cache": cache})
        tower = run.opened.model.model.vision_tower
        calls.clear()
        leaf = next(m for m in tower.modules() if not list(m.children()))
        leaf.register_forward_pre_hook(lambda *_: calls.append(1))
        found.append((*first(run)[:2], len(calls)))
    (loss, norm, looks), (again, same, none) = found
    assert (looks > 0, none) == (True, 0)
    assert again == pytest.approx(loss, rel=1e-5)
    assert same == pytest.approx(norm, rel=1e-4)
