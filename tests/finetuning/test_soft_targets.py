"""A teacher's probabilities are learned at the tokens where the labels differ, and only there."""

import functools
import math

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.finetuning.recipe import LossConfig
from gen_msa.finetuning.tokenization import soft_targets, unpacked
from gen_msa.types import Polarity
from tests.finetuning.tiny_trainer import TinyTrainer

TEACHER_PROBS = {Polarity.NEGATIVE: 0.2, Polarity.NEUTRAL: 0.3, Polarity.POSITIVE: 0.5}
SOFT_LOSS = LossConfig(label=0, form=0, explanation=0, soft=1)


@functools.cache
def get_trainer():
    return TinyTrainer("llama")


def test_labels_with_common_prefix_split_the_remaining_mass():
    answers = {"n": [9, 1, 2, 5], "u": [9, 1, 3, 5], "p": [9, 4, 5]}
    targets = soft_targets([9, 1, 3, 5], answers, {"n": 0.1, "u": 0.3, "p": 0.6})
    (first_position, first), (second_position, second) = targets
    assert (first_position, second_position) == (1, 2)
    assert dict(first) == pytest.approx({1: 0.4, 4: 0.6})
    assert dict(second) == pytest.approx({2: 0.25, 3: 0.75})


def test_soft_targets_follow_only_the_answer_path():
    answers = {"n": [1, 2], "u": [1, 3], "p": [4]}
    assert [i for i, _ in soft_targets([4], answers, {"n": 0.5, "u": 0.5, "p": 0})] == [0]
    assert soft_targets([1, 2], answers, {"p": 1.0}) == ((0, ((1, 0.0), (4, 1.0))),)


@given(
    st.dictionaries(
        st.integers(0, 5), st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1
    ),
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_each_soft_target_is_a_distribution_over_tokens(answers, probs):
    answer = answers[min(answers)]
    for i, distribution in soft_targets(answer, answers, dict(enumerate(probs))):
        tokens = [t for t, _ in distribution]
        assert len(set(tokens)) == len(tokens) >= 2
        assert answer[i] in tokens
        assert sum(p for _, p in distribution) == pytest.approx(1)


def tokenized_row(probs=TEACHER_PROBS, polarity=Polarity.NEUTRAL, **overrides):
    trainer = get_trainer()
    fields = {"prompt": "predict/brief_label", "polarity": polarity, "probs": probs, **overrides}
    return trainer.example_tokenizer.tokenize(trainer.make_example(0, **fields))


def test_soft_target_tokens_spell_the_labels():
    row_ = tokenized_row()
    (first_target, *_), tokenizer = row_.soft_targets, get_trainer().chat_tokenizer.tokenizer
    position, distribution = first_target
    assert row_.fields[position] == "label"
    answer_token = row_.ids[row_.prompt_length + position]
    assert answer_token in dict(distribution)
    assert all(
        "p" in tokenizer.decode([t]) or "n" in tokenizer.decode([t]) for t, _ in distribution
    )
    assert tokenized_row(None).soft_targets == ()


def test_soft_loss_is_cross_entropy_to_teacher_probs():
    trainer, row_ = get_trainer(), tokenized_row()
    batch = trainer.make_batch([unpacked(row_)], SOFT_LOSS)
    scores = trainer.logits(batch).log_softmax(-1)
    expected_loss = 0.0
    for position, distribution in row_.soft_targets:
        expected_loss -= sum(p * float(scores[position, t]) for t, p in distribution) / len(
            row_.soft_targets
        )
    losses = trainer.losses(batch)
    assert float(losses.total.detach()) == pytest.approx(expected_loss, rel=1e-5)
    weighted_sum, weight_sum = losses.by_field["soft"]
    assert weighted_sum / weight_sum == pytest.approx(expected_loss, rel=1e-5)
    assert weight_sum == pytest.approx(1)
    assert "soft" not in trainer.losses(trainer.make_batch([unpacked(row_)], LossConfig())).by_field


def test_training_on_soft_loss_reproduces_teacher_probs():
    trainer, row_ = TinyTrainer("llama"), tokenized_row()
    batch = trainer.make_batch([unpacked(row_)], SOFT_LOSS)
    optimizer = torch.optim.Adam(trainer.model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        trainer.losses(batch).total.backward()
        optimizer.step()
    scores = trainer.logits(batch).softmax(-1)
    for position, distribution in row_.soft_targets:
        for token, probability in distribution:
            assert float(scores[position, token]) == pytest.approx(probability, abs=0.05)
    entropy = -sum(
        p * math.log(p) / len(row_.soft_targets)
        for _, distribution in row_.soft_targets
        for _, p in distribution
        if p
    )
    assert float(trainer.losses(batch).total.detach()) == pytest.approx(entropy, abs=0.05)
