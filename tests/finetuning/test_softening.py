"""A teacher's probabilities are learned where the words of the labels part, and only there."""

import functools
import math

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.finetuning.branches import alone
from gen_msa.finetuning.recipe import Loss
from gen_msa.finetuning.softening import places
from gen_msa.types import Polarity
from tests.finetuning.lessons import Lesson

PROBS = {Polarity.NEGATIVE: 0.2, Polarity.NEUTRAL: 0.3, Polarity.POSITIVE: 0.5}
SOFT = Loss(label=0, form=0, explanation=0, soft=1)


@functools.cache
def lesson():
    return Lesson("llama")


def test_words_that_begin_alike_part_twice_with_the_mass_that_is_left():
    answers = {"n": [9, 1, 2, 5], "u": [9, 1, 3, 5], "p": [9, 4, 5]}
    found = places([9, 1, 3, 5], answers, {"n": 0.1, "u": 0.3, "p": 0.6})
    (one, first), (two, second) = found
    assert (one, two) == (1, 2)
    assert dict(first) == pytest.approx({1: 0.4, 4: 0.6})
    assert dict(second) == pytest.approx({2: 0.25, 3: 0.75})


def test_off_its_path_nothing_is_learned_and_a_sure_teacher_is_a_hard_label():
    answers = {"n": [1, 2], "u": [1, 3], "p": [4]}
    assert [i for i, _ in places([4], answers, {"n": 0.5, "u": 0.5, "p": 0})] == [0]
    assert places([1, 2], answers, {"p": 1.0}) == ((0, ((1, 0.0), (4, 1.0))),)


@given(
    st.dictionaries(
        st.integers(0, 5), st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1
    ),
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_each_place_holds_a_distribution_over_tokens_that_differ(answers, masses):
    own = answers[min(answers)]
    for i, thought in places(own, answers, dict(enumerate(masses))):
        tokens = [t for t, _ in thought]
        assert len(set(tokens)) == len(tokens) >= 2
        assert own[i] in tokens
        assert sum(p for _, p in thought) == pytest.approx(1)


def row(probs=PROBS, polarity=Polarity.NEUTRAL, **more):
    one = lesson()
    given_ = {"prompt": "reader/brief_label", "polarity": polarity, "probs": probs, **more}
    return one.encoder.encode(one.row(0, **given_))


def test_the_tokens_of_a_rows_places_spell_the_label_words():
    found = row()
    (start, *_), words = found.soft, lesson().layout.tokenizer
    at, thought = start
    assert found.fields[at] == "label"
    own = found.ids[found.prompt_length + at]
    assert own in dict(thought)
    assert all("p" in words.decode([t]) or "n" in words.decode([t]) for t, _ in thought)
    assert row(None).soft == ()


def test_its_loss_is_the_cross_entropy_to_the_teachers_probabilities():
    one, found = lesson(), row()
    batch = one.batch([alone(found)], SOFT)
    scores = one.logits(batch).log_softmax(-1)
    wanted = 0.0
    for at, thought in found.soft:
        wanted -= sum(p * float(scores[at, t]) for t, p in thought) / len(found.soft)
    losses = one.losses(batch)
    assert float(losses.total.detach()) == pytest.approx(wanted, rel=1e-5)
    above, below = losses.by_field["soft"]
    assert above / below == pytest.approx(wanted, rel=1e-5)
    assert below == pytest.approx(1)
    assert "soft" not in one.losses(one.batch([alone(found)], Loss())).by_field


def test_trained_by_it_a_model_says_the_teachers_probabilities():
    one, found = Lesson("llama"), row()
    batch = one.batch([alone(found)], SOFT)
    optimizer = torch.optim.Adam(one.model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        one.losses(batch).total.backward()
        optimizer.step()
    scores = one.logits(batch).softmax(-1)
    for at, thought in found.soft:
        for token, probability in thought:
            assert float(scores[at, token]) == pytest.approx(probability, abs=0.05)
    least = -sum(
        p * math.log(p) / len(found.soft) for _, thought in found.soft for _, p in thought if p
    )
    assert float(one.losses(batch).total.detach()) == pytest.approx(least, abs=0.05)
