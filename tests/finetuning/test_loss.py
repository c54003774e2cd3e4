"""Loss weights: no field outweighs another; rows and classes weigh what the recipe says."""

import functools
import math

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.finetuning.loss import FIELDS, LossWeights, loss_from_logits
from gen_msa.finetuning.recipe import LossConfig
from gen_msa.types import Polarity
from tests.finetuning.tiny_trainer import (
    LONG_EXPLANATION,
    TinyTrainer,
    gradient_norm,
    max_gradient_difference,
)

SHORT_EXPLANATION = "so slow"
SINGLE_FIELD_LOSSES = {
    "label": LossConfig(label=1, explanation=0, aspect=0, form=0),
    "explanation": LossConfig(label=0, explanation=1, aspect=0, form=0),
}


@functools.cache
def get_trainer(family="llama", head=True):
    return TinyTrainer(family, head=head)


def tokenize_rows(*explanations, trainer=None, **overrides):
    trainer = trainer or get_trainer()
    return [
        trainer.example_tokenizer.tokenize(trainer.make_example(i, explanation=r, **overrides))
        for i, r in enumerate(explanations)
    ]


def loss_and_gradients(rows, loss=None, classes=()):
    """Loss and gradients of rows in one batch, one sequence per row."""
    trainer = get_trainer()
    return trainer.gradients(
        trainer.make_batch(trainer.make_sequences(rows, packed=False), loss, classes)
    )


def test_label_loss_is_independent_of_explanation_length():
    short, long = tokenize_rows(SHORT_EXPLANATION), tokenize_rows(LONG_EXPLANATION)
    assert len(long[0].fields) > 2 * len(short[0].fields)
    for loss in (SINGLE_FIELD_LOSSES["label"], LossConfig(label=2, explanation=0, form=0)):
        short_result, long_result = loss_and_gradients(short, loss), loss_and_gradients(long, loss)
        assert short_result[0] == pytest.approx(long_result[0], rel=1e-6)
        assert gradient_norm(short_result[1]) == pytest.approx(
            gradient_norm(long_result[1]), rel=1e-5
        )
        assert max_gradient_difference(short_result[1], long_result[1]) <= 1e-6
    # With one mean over all tokens the label drowns in a long reason.
    token = LossConfig(reduction="token")
    token_weights = [
        LossWeights.from_rows(token, ()).token_weights(
            r[0], LossWeights.from_rows(token, ()).step_totals(r)
        )
        for r in (short, long)
    ]
    assert token_weights[0][0] > 2 * token_weights[1][0]


@pytest.mark.parametrize("weights", [{}, {"label": 3.0, "form": 0.0}, {"explanation": 0.5}])
def test_total_field_weights_match_the_recipe(weights):
    loss = LossConfig(**weights)
    rows = tokenize_rows(SHORT_EXPLANATION, LONG_EXPLANATION, None)
    loss_weights = LossWeights.from_rows(loss, ())
    totals = loss_weights.step_totals(rows)
    weight_by_field = dict.fromkeys(FIELDS, 0.0)
    for row in rows:
        for name, weight in zip(row.fields, loss_weights.token_weights(row, totals), strict=True):
            weight_by_field[name] += weight
    for name in ("label", "explanation", "form"):
        assert weight_by_field[name] == pytest.approx(getattr(loss, name))
    assert weight_by_field["aspect"] == 0


def test_batch_loss_is_the_weighted_sum_of_field_means():
    trainer, loss = get_trainer(), LossConfig(label=1.5, explanation=0.5, form=0.25)
    losses = trainer.losses(
        trainer.make_batch(
            trainer.make_sequences(
                tokenize_rows(SHORT_EXPLANATION, LONG_EXPLANATION), packed=False
            ),
            loss,
        )
    )
    means = {
        name: weighted_sum / weight_sum
        for name, (weighted_sum, weight_sum) in losses.by_field.items()
    }
    total = sum(getattr(loss, name) * mean for name, mean in means.items())
    assert losses.total.item() == pytest.approx(total, rel=1e-5)
    assert set(means) == {"label", "explanation", "form"}


def test_row_weight_and_class_weight_scale_the_loss():
    trainer = get_trainer()
    plain_rows = tokenize_rows(SHORT_EXPLANATION)
    heavy_rows = tokenize_rows(SHORT_EXPLANATION, weight=3.0)
    other_rows = [
        trainer.example_tokenizer.tokenize(
            trainer.make_example(1, Polarity.NEGATIVE, LONG_EXPLANATION)
        )
    ]
    separate_losses = [
        loss_and_gradients(r, SINGLE_FIELD_LOSSES["label"])[0] for r in (plain_rows, other_rows)
    ]
    mixed_loss = loss_and_gradients(heavy_rows + other_rows, SINGLE_FIELD_LOSSES["label"])[0]
    assert mixed_loss == pytest.approx((3 * separate_losses[0] + separate_losses[1]) / 4, rel=1e-4)
    class_loss = SINGLE_FIELD_LOSSES["label"].model_copy(
        update={"class_weights": {Polarity.NEGATIVE: 4.0}}
    )
    mixed_loss = loss_and_gradients(plain_rows + other_rows, class_loss)[0]
    assert mixed_loss == pytest.approx((separate_losses[0] + 4 * separate_losses[1]) / 5, rel=1e-4)


def test_balanced_classes_have_equal_total_weight():
    trainer = get_trainer()
    labels = [Polarity.POSITIVE] * 6 + [Polarity.NEUTRAL] * 3 + [Polarity.NEGATIVE]
    rows = [trainer.make_example(0, k) for k in labels]
    loss_weights = LossWeights.from_rows(LossConfig(class_weights="balanced"), rows)
    weight_by_class = {
        k: sum(loss_weights.row_weight(r) for r in rows if r.polarity is k) for k in Polarity
    }
    assert weight_by_class == pytest.approx(dict.fromkeys(Polarity, 10 / 3))
    unweighted = LossWeights.from_rows(LossConfig(), rows)
    assert {unweighted.row_weight(r) for r in rows} == {1.0}


@pytest.mark.parametrize("family", ["llama", "qwen2", "idefics3"])
def test_token_reduction_equals_the_hugging_face_loss(family):
    trainer = get_trainer(family)
    image_options = {"image": 2} if trainer.chat_tokenizer.supports_images else {}
    rows = tokenize_rows(
        SHORT_EXPLANATION, LONG_EXPLANATION, None, trainer=trainer, **image_options
    )
    batch = trainer.make_batch(
        trainer.make_sequences(rows, packed=False), LossConfig(reduction="token", label=9)
    )
    labels = torch.full_like(batch.inputs["input_ids"], -100)
    labels[batch.sequences, batch.label_positions + 1] = batch.targets
    assert int((labels >= 0).sum()) == sum(len(r.fields) for r in rows)
    with torch.no_grad():
        hf_loss = trainer.model(**batch.inputs, labels=labels, use_cache=False).loss
        own_loss = trainer.losses(batch).total
    assert float(own_loss) == pytest.approx(float(hf_loss), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral", "llava", "idefics3", "paligemma"])
def test_answer_only_head_keeps_the_loss_and_sees_only_answers(family):
    head_positions, results = [], []
    for answer_only in (True, False):
        trainer = TinyTrainer(family, head=answer_only)
        trainer.model.get_output_embeddings().register_forward_hook(
            lambda module, args, out: head_positions.append(out.shape[:-1].numel())
        )
        image_options = {"image": 2} if trainer.chat_tokenizer.supports_images else {}
        rows = tokenize_rows(SHORT_EXPLANATION, LONG_EXPLANATION, trainer=trainer, **image_options)
        batch = trainer.make_batch(trainer.make_sequences(rows, packed=False))
        head_positions.clear()
        results.append((*trainer.gradients(batch), head_positions[0]))
        n_answer_tokens, n_positions = (
            sum(len(r.fields) for r in rows),
            batch.inputs["input_ids"].numel(),
        )
    (loss, gradients, n_answer_only), (full_loss, full_gradients, n_full) = results
    assert (n_answer_only, n_full) == (n_answer_tokens, n_positions)
    assert loss == pytest.approx(full_loss, rel=1e-6)
    assert max_gradient_difference(gradients, full_gradients) <= 1e-5 * gradient_norm(
        full_gradients
    )


def test_answer_only_head_is_restored_for_generation():
    trainer = get_trainer()
    batch = trainer.make_batch(
        trainer.make_sequences(tokenize_rows(SHORT_EXPLANATION), packed=False)
    )
    trainer.losses(batch)
    with torch.no_grad():
        logits = trainer.model(**batch.inputs).logits
    assert logits.shape[:2] == batch.inputs["input_ids"].shape
    with pytest.raises(RuntimeError, match="was not called"):
        trainer.answer_head.answer_logits(logits)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 2), st.integers(0, 3)), min_size=1))
def test_field_losses_add_up_to_the_total(rows):
    logits = torch.tensor([[a, 0.0, -a] for a, _, _ in rows])
    weights = torch.tensor([w for _, w, _ in rows])
    fields = torch.tensor([f for *_, f in rows])
    batch_loss = loss_from_logits(logits, torch.zeros(len(rows), dtype=torch.long), weights, fields)
    weighted_sum = sum(a for a, _ in batch_loss.by_field.values())
    weight_sum = sum(b for _, b in batch_loss.by_field.values())
    row_losses = [w * math.log(1 + math.exp(-a) + math.exp(-2 * a)) for a, w, _ in rows]
    assert float(batch_loss.total) == pytest.approx(weighted_sum, abs=1e-3)
    assert float(batch_loss.total) == pytest.approx(sum(row_losses), abs=1e-3)
    assert weight_sum == pytest.approx(float(weights.sum()), abs=1e-4)
    assert set(batch_loss.by_field) == {FIELDS[f] for *_, f in rows}
