"""One sequence a post learns what separate rows learn, and no branch sees another."""

import functools

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.finetuning.batches import block_mask
from gen_msa.finetuning.branches import MIN_GAIN, alone, joined
from gen_msa.finetuning.preparing import why_separate
from gen_msa.types import Polarity
from tests.finetuning.adapted import recipe
from tests.finetuning.lessons import LONG, Lesson, apart, norm

JOINABLE = ("llama", "qwen2", "llava", "idefics3")
PICTURED = ("llava", "idefics3")


@functools.cache
def lesson(family, attention="sdpa"):
    return Lesson(family, attention=attention)


def posts(one):
    """Three posts of one, three and four aspects; with pictures where they can be seen."""
    shown = [{"picture": i} if one.layout.sees_pictures else {} for i in (1, 2, 5)]
    return one.post((2,), **shown[0]), one.post(**shown[1]), one.post((0, 1, 2, 3), **shown[2])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", JOINABLE)
def test_loss_and_gradients_are_those_of_separate_rows(family, attention):
    one = lesson(family, attention)
    assert why_separate(recipe(), one.model) == ""
    some = posts(one)
    joint, separate = one.lines(*some), one.lines(*some, together=False)
    assert (len(joint), len(separate)) == (3, 8)
    assert [s.branched for s in joint] == [False, True, True]
    loss, gradients = one.gradients(one.batch(joint))
    plain_loss, plain = one.gradients(one.batch(separate))
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    assert apart(gradients, plain) <= 1e-4 * norm(plain)
    assert norm(plain) > 0.1


@pytest.mark.parametrize("family", JOINABLE)
def test_what_all_rows_begin_with_is_fed_once(family):
    one = lesson(family)
    rows = one.post((0, 1, 2, 3), **({"picture": 1} if family in PICTURED else {}))
    (line,) = joined(rows)
    fed, alone_ = len(line.ids), sum(len(r.ids) for r in rows)
    shared = line.segments.count(0)
    assert fed == alone_ - 3 * shared
    assert shared > 0.5 * min(r.prompt_length for r in rows)
    assert shared >= MIN_GAIN


def test_every_row_stands_whole_in_its_line_at_its_own_positions():
    one = lesson("llama")
    rows = one.post((0, 1, 2, 3))
    (line,) = joined(rows)
    for k, (row, (start, end)) in enumerate(zip(rows, line.answers, strict=True), start=1):
        mine = [i for i, s in enumerate(line.segments) if s in (0, k)]
        assert [line.ids[i] for i in mine] == list(row.ids)
        assert [line.positions[i] for i in mine] == list(range(len(row.ids)))
        assert line.ids[start:end] == row.ids[row.prompt_length :]


@pytest.mark.parametrize("family", JOINABLE)
def test_a_branch_cannot_see_another(family):
    one = lesson(family)
    shown = {"picture": 1} if family in PICTURED else {}
    batch = one.batch(joined(one.post(**shown)))
    (line,) = joined(one.post(**shown))
    before = one.logits(batch)
    first = [i for i, s in enumerate(line.segments) if s == 1]
    ids = batch.inputs["input_ids"]
    ids[0, first] = (ids[0, first] + 5) % 250
    after = one.logits(batch)
    own = torch.tensor([p in first for p in batch.places.tolist()])
    assert torch.equal(before[~own], after[~own])
    assert (before[own] - after[own]).abs().max() > 0.01


def test_padding_changes_nothing_and_every_row_of_the_mask_may_look_somewhere():
    one = lesson("llama")
    short, long = one.post((0, 1)), one.post((0, 1, 2, 3))
    mask = block_mask([*joined(short), *joined(long)], len(joined(long)[0].ids))
    assert mask.shape[:2] == (2, 1)
    assert bool((mask == 0).any(-1).all())
    alone_ = one.logits(one.batch(joined(short)))
    beside = one.logits(one.batch([*joined(short), *joined(long)]))
    assert torch.allclose(alone_, beside[: len(alone_)], atol=1e-4)


def test_a_sliding_window_is_refused_by_name():
    assert why_separate(recipe(), lesson("mistral").model) == "sliding window"
    for family, why in (("qwen2_5_vl", "mrope"), ("gemma3", "bidirectional attention")):
        assert why_separate(recipe(), lesson(family).model) == why


def test_the_lever_and_flash_attention_join_nothing():
    model = lesson("llama").model
    off = recipe(levers={"branches": False})
    assert why_separate(off, model) == "not asked for"
    flash = recipe(attn_implementation="flash_attention_2")
    assert why_separate(flash, model) == "flash_attention_2 takes no block mask"


def test_rows_that_show_other_pictures_or_none_stay_apart():
    one = lesson("idefics3")
    rows = [
        one.encoder.encode(one.row(0, picture=1)),
        one.encoder.encode(one.row(1, picture=2)),
        one.encoder.encode(one.row(2)),
        one.encoder.encode(one.row(3, picture=1)),
    ]
    lines = joined(rows)
    assert [len(s.rows) for s in lines] == [2, 1, 1]
    assert [s.rows[0] for s in lines] == rows[:3]


def test_rows_with_little_in_common_stay_apart():
    one = lesson("llama")
    brief = one.encoder.encode(one.row(0))
    other = one.encoder.encode(one.row(0, text="soup, soup and screen"))
    assert len(joined([brief, brief])) == 1
    shared = joined([brief, other])
    assert sum(len(s.rows) for s in shared) == 2
    assert all(s.segments.count(0) >= MIN_GAIN for s in shared)


def test_the_shared_part_ends_before_any_answer_even_of_the_same_question():
    one = lesson("llama")
    twice = [
        one.encoder.encode(one.row(0, p, LONG)) for p in (Polarity.POSITIVE, Polarity.NEGATIVE)
    ]
    (line,) = joined(twice)
    assert line.segments.count(0) == twice[0].prompt_length - 1
    gradients = one.gradients(one.batch([line]))[1]
    plain = one.gradients(one.batch([alone(r) for r in twice]))[1]
    assert apart(gradients, plain) <= 1e-4 * norm(plain)
