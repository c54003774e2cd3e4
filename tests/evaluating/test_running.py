"""One result from posts with opinions: every figure can be had again by hand from the rows."""

import random
from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluating import Answers, Gathered, check, evaluate
from gen_msa.evaluating.suite import Suite
from gen_msa.types import Polarity
from tests.evaluating.phones import example

LABELS = [p.value for p in Polarity]


def gathered(examples):
    return Gathered(tuple(examples), Path(), "posts.jsonl", "0" * 64)


def plan(**more):
    given = {"data": "posts.jsonl", "metrics": ["labels", "calibration"], "replicates": 200}
    return Suite(**(given | more))


def drawn(n, seed=0, right=0.7, unread=True):
    """Posts whose reader `good` has about `right` of them, and `bad` says what it likes."""
    likes = [*LABELS, ""] if unread else LABELS
    rng = random.Random(seed)
    made = []
    for i in range(n):
        gold = rng.choice(LABELS)
        good = gold if rng.random() < right else rng.choice(LABELS)
        made.append(example(i, gold, f"{i // 2}.jpg", good=good, bad=rng.choice(likes)))
    return made


def test_the_figures_are_those_of_the_rows():
    examples = drawn(60)
    result = evaluate(plan(), gathered(examples))
    assert [r.name for r in result.readers] == ["good", "bad"]
    assert (result.posts, result.rows, result.clusters) == (60, 60, 30)
    for reader in result.readers:
        pairs = [(e.said_by("gold")[0], e.said_by(reader.name)[0]) for e in examples]
        right = sum(g.polarity == o.polarity for g, o in pairs)
        accuracy = reader.figures["labels"]["accuracy"]
        assert accuracy.value == pytest.approx(right / 60)
        assert accuracy.low < accuracy.value < accuracy.high
        assert accuracy.how == "cluster bootstrap, 200 replicates, seed 0"
        assert sum(sum(row.values()) for row in reader.confusion.values()) == 60
        assert len(reader.unread) == sum(o.polarity is None for _, o in pairs)


def test_a_reader_that_is_better_is_found_so_and_one_that_is_not_is_not():
    better = evaluate(plan(headline=["labels.accuracy"]), gathered(drawn(200)))
    (found,) = better.comparisons
    assert (found.a, found.b) == ("good", "bad")
    assert found.low > 0
    assert found.p_adjusted < 0.05
    alike = evaluate(
        plan(headline=["labels.accuracy"]), gathered(drawn(200, right=0.0, unread=False))
    )
    assert alike.comparisons[0].p > 0.05


def test_rows_that_share_a_picture_are_exchanged_together_and_lone_ones_by_mcnemar():
    shared = evaluate(plan(), gathered(drawn(60))).comparisons[0]
    assert shared.test.startswith("permutation")
    alone = evaluate(plan(cluster="post"), gathered(drawn(60))).comparisons[0]
    assert alone.test == "McNemar, exact"


def test_p_values_are_adjusted_over_all_comparisons():
    result = evaluate(plan(), gathered(drawn(60)))
    assert [c.adjustment for c in result.comparisons] == ["Holm over 2"] * 2
    assert all(c.p_adjusted >= c.p for c in result.comparisons)


def test_the_same_seed_gives_the_same_result():
    examples = gathered(drawn(40))
    assert evaluate(plan(), examples) == evaluate(plan(), examples)
    assert evaluate(plan(), examples) != evaluate(plan(seed=1), examples)


def test_a_silent_reader_is_wrong_everywhere():
    examples = [example(0, "positive", r="positive"), *(example(i, "neutral") for i in range(1, 4))]
    (reader,) = evaluate(plan(), gathered(examples)).readers
    assert reader.figures["labels"]["accuracy"].value == 0.25
    assert (reader.rows, reader.silent) == (4, 3)
    assert [u.status for u in reader.unread] == ["silent"] * 3


@pytest.mark.parametrize("n", [1, 2])
def test_one_row_has_a_figure_and_says_why_it_has_no_interval(n):
    examples = [e.model_copy() for e in drawn(n)]
    result = evaluate(plan(), gathered(examples))
    accuracy = result.readers[0].figures["labels"]["accuracy"]
    assert accuracy.value in (0.0, 1.0)
    assert accuracy.low is None
    assert "fewer than two clusters" in accuracy.note
    assert result.comparisons == ()


def test_what_a_family_cannot_say_is_said_with_its_reason():
    result = evaluate(
        plan(metrics=["labels", "naming"]), gathered([example(0, "neutral", r="neutral")])
    )
    named = result.readers[0].figures["naming"]["named"]
    assert named.value is None
    assert "explanation" in named.note
    assert result.readers[0].notes == (f"naming: {named.note}",)


def test_slices_add_up_to_the_whole():
    result = evaluate(plan(slices=["gold", "negation"]), gathered(drawn(60)))
    for name in ("gold", "negation"):
        assert sum(v.n for v in result.readers[0].levels if v.slice == name) == 60


def test_another_reader_can_stand_for_gold():
    examples = drawn(30)
    result = evaluate(plan(against="good"), gathered(examples))
    assert [r.name for r in result.readers] == ["gold", "bad"]
    same = sum(e.said_by("gold")[0].polarity == e.said_by("good")[0].polarity for e in examples)
    assert result.readers[0].figures["labels"]["accuracy"].value == pytest.approx(same / 30)


def test_seeds_have_rows_of_their_own_and_a_mean():
    answers = [
        Answers("good", Path("x"), by="good"),
        Answers("bad", Path("x"), by="bad", seed_of="good"),
    ]
    result = evaluate(plan(), gathered(drawn(50)), answers)
    assert [r.name for r in result.readers] == ["good", "bad", "good, mean of 2 seeds"]
    one, two, mean = (r.figures["labels"]["macro_f1"] for r in result.readers)
    assert mean.value == pytest.approx((one.value + two.value) / 2)
    assert mean.seeds == (one.value, two.value)
    assert mean.note.startswith("sd ")
    assert result.comparisons == ()


def test_nobody_to_compare_is_an_error():
    with pytest.raises(UserError, match="holds nobody's opinions"):
        evaluate(plan(), gathered([example(0, "positive")]))
    with pytest.raises(UserError, match="'teacher' says nothing"):
        evaluate(plan(against="teacher"), gathered(drawn(3)))


def test_what_the_rows_could_have_shown_is_said():
    examples = drawn(200)
    (note,) = evaluate(plan(), gathered(examples)).notes
    apart = sum(
        (e.said_by("good")[0].polarity == e.said_by("gold")[0].polarity)
        != (e.said_by("bad")[0].polarity == e.said_by("gold")[0].polarity)
        for e in examples
    )
    assert note.startswith(f"good and bad part in {apart / 200:.1%} of 200 rows: a difference")


def test_readers_that_never_part_have_no_power_note():
    examples = [example(i, "positive", a="positive", b="positive") for i in range(4)]
    assert evaluate(plan(), gathered(examples)).notes == ()


@pytest.mark.parametrize(
    ("metrics", "headline", "why"),
    [
        (["labels"], "labels.acuracy", "did you mean 'accuracy'"),
        (["labels", "wording"], "wording.length", "is no sum over rows"),
    ],
)
def test_a_headline_that_cannot_be_tested_is_an_error(metrics, headline, why):
    with pytest.raises(UserError, match=why):
        evaluate(plan(metrics=metrics, headline=[headline]), gathered(drawn(3)))


def test_a_reader_that_stands_for_gold_is_not_held_against_itself():
    answers = [Answers(name, Path("x"), by=name) for name in ("good", "bad")]
    result = evaluate(plan(against="good"), gathered(drawn(10)), answers)
    assert [r.name for r in result.readers] == ["bad"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"readers": [{"reader": "echo", "name": "good"}]}, "'good' speaks in"),
        ({"against": "teacher", "readers": [{"reader": "echo"}]}, "'teacher' says nothing"),
        ({"headline": ["labels.f2"]}, "no such figure"),
    ],
)
def test_what_is_wrong_is_known_before_a_reader_reads(given, why):
    with pytest.raises(UserError, match=why):
        check(plan(**given), gathered(drawn(3)))


def test_a_reader_of_the_suite_may_stand_for_gold_where_the_data_has_none():
    readers = [{"reader": "echo", "name": "teacher"}, {"reader": "echo:1"}]
    assert check(plan(against="teacher", readers=readers), gathered([example(0, "")])) is None
