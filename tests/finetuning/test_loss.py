"""What a token weighs: fields do not drown each other, classes and rows weigh what is said."""

import functools
import math

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.finetuning.loss import FIELDS, Weigher, of_logits
from gen_msa.finetuning.recipe import Loss
from gen_msa.types import Polarity
from tests.finetuning.lessons import LONG, Lesson, apart, norm

SHORT = "so slow"
ONLY = {
    "label": Loss(label=1, explanation=0, aspect=0, form=0),
    "explanation": Loss(label=0, explanation=1, aspect=0, form=0),
}


@functools.cache
def lesson(family="llama", head=True):
    return Lesson(family, head=head)


def encoded(*reasons, one=None, **more):
    one = one or lesson()
    return [one.encoder.encode(one.row(i, reason=r, **more)) for i, r in enumerate(reasons)]


def learned(rows, loss=None, classes=()):
    """Loss and gradients of rows that are all in one batch, one line each."""
    one = lesson()
    return one.gradients(one.batch(one.lines(rows, together=False), loss, classes))


def test_label_loss_and_its_gradient_are_the_same_whatever_the_reasons_length():
    short, long = encoded(SHORT), encoded(LONG)
    assert len(long[0].fields) > 2 * len(short[0].fields)
    for loss in (ONLY["label"], Loss(label=2, explanation=0, form=0)):
        a, b = learned(short, loss), learned(long, loss)
        assert a[0] == pytest.approx(b[0], rel=1e-6)
        assert norm(a[1]) == pytest.approx(norm(b[1]), rel=1e-5)
        assert apart(a[1], b[1]) <= 1e-6
    # With one mean over all tokens the label drowns in a long reason.
    token = Loss(reduction="token")
    share = [
        Weigher.of(token, ()).weights(r[0], Weigher.of(token, ()).totals(r)) for r in (short, long)
    ]
    assert share[0][0] > 2 * share[1][0]


@pytest.mark.parametrize("weights", [{}, {"label": 3.0, "form": 0.0}, {"explanation": 0.5}])
def test_each_field_weighs_in_all_what_the_recipe_says(weights):
    loss = Loss(**weights)
    rows = encoded(SHORT, LONG, None)
    weigher = Weigher.of(loss, ())
    totals = weigher.totals(rows)
    found = dict.fromkeys(FIELDS, 0.0)
    for row in rows:
        for name, weight in zip(row.fields, weigher.weights(row, totals), strict=True):
            found[name] += weight
    for name in ("label", "explanation", "form"):
        assert found[name] == pytest.approx(getattr(loss, name))
    assert found["aspect"] == 0


def test_the_batch_loss_is_the_weighted_sum_of_its_fields_means():
    one, loss = lesson(), Loss(label=1.5, explanation=0.5, form=0.25)
    losses = one.losses(one.batch(one.lines(encoded(SHORT, LONG), together=False), loss))
    means = {name: above / below for name, (above, below) in losses.by_field.items()}
    total = sum(getattr(loss, name) * mean for name, mean in means.items())
    assert float(losses.total) == pytest.approx(total, rel=1e-5)
    assert set(means) == {"label", "explanation", "form"}


def test_a_rows_own_weight_and_its_class_weigh_it_among_the_others():
    one = lesson()
    plain = encoded(SHORT)
    heavy = encoded(SHORT, weight=3.0)
    other = [one.encoder.encode(one.row(1, Polarity.NEGATIVE, LONG))]
    by_itself = [learned(r, ONLY["label"])[0] for r in (plain, other)]
    mixed = learned(heavy + other, ONLY["label"])[0]
    assert mixed == pytest.approx((3 * by_itself[0] + by_itself[1]) / 4, rel=1e-4)
    classes = ONLY["label"].model_copy(update={"class_weights": {Polarity.NEGATIVE: 4.0}})
    mixed = learned(plain + other, classes)[0]
    assert mixed == pytest.approx((by_itself[0] + 4 * by_itself[1]) / 5, rel=1e-4)


def test_balanced_classes_weigh_the_same_in_all():
    one = lesson()
    kinds = [Polarity.POSITIVE] * 6 + [Polarity.NEUTRAL] * 3 + [Polarity.NEGATIVE]
    rows = [one.row(0, k) for k in kinds]
    weigher = Weigher.of(Loss(class_weights="balanced"), rows)
    each = {k: sum(weigher.row_weight(r) for r in rows if r.polarity is k) for k in Polarity}
    assert each == pytest.approx(dict.fromkeys(Polarity, 10 / 3))
    none = Weigher.of(Loss(), rows)
    assert {none.row_weight(r) for r in rows} == {1.0}


@pytest.mark.parametrize("family", ["llama", "qwen2", "idefics3"])
def test_one_mean_over_all_tokens_is_hugging_faces_own_loss(family):
    one = lesson(family)
    shown = {"picture": 2} if one.layout.sees_pictures else {}
    rows = encoded(SHORT, LONG, None, one=one, **shown)
    batch = one.batch(one.lines(rows, together=False), Loss(reduction="token", label=9))
    labels = torch.full_like(batch.inputs["input_ids"], -100)
    labels[batch.lines, batch.places + 1] = batch.targets
    assert int((labels >= 0).sum()) == sum(len(r.fields) for r in rows)
    with torch.no_grad():
        theirs = one.model(**batch.inputs, labels=labels, use_cache=False).loss
        ours = one.losses(batch).total
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral", "llava", "idefics3", "paligemma"])
def test_the_labelled_head_changes_no_loss_and_sees_answer_tokens_alone(family):
    counted, found = [], []
    for on in (True, False):
        one = Lesson(family, head=on)
        one.model.get_output_embeddings().register_forward_hook(
            lambda module, args, out: counted.append(out.shape[:-1].numel())
        )
        shown = {"picture": 2} if one.layout.sees_pictures else {}
        rows = encoded(SHORT, LONG, one=one, **shown)
        batch = one.batch(one.lines(rows, together=False))
        counted.clear()
        found.append((*one.gradients(batch), counted[0]))
        answers, width = sum(len(r.fields) for r in rows), batch.inputs["input_ids"].numel()
    (loss, gradients, few), (plain_loss, plain, many) = found
    assert (few, many) == (answers, width)
    assert loss == pytest.approx(plain_loss, rel=1e-6)
    assert apart(gradients, plain) <= 1e-5 * norm(plain)


def test_the_head_is_whole_again_for_whoever_generates_after_a_batch():
    one = lesson()
    batch = one.batch(one.lines(encoded(SHORT), together=False))
    one.losses(batch)
    with torch.no_grad():
        logits = one.model(**batch.inputs).logits
    assert logits.shape[:2] == batch.inputs["input_ids"].shape
    with pytest.raises(RuntimeError, match="was not called"):
        one.head.taken(logits)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 2), st.integers(0, 3)), min_size=1))
def test_losses_add_up_over_the_fields(rows):
    logits = torch.tensor([[a, 0.0, -a] for a, _, _ in rows])
    weights = torch.tensor([w for _, w, _ in rows])
    fields = torch.tensor([f for *_, f in rows])
    found = of_logits(logits, torch.zeros(len(rows), dtype=torch.long), weights, fields)
    above = sum(a for a, _ in found.by_field.values())
    below = sum(b for _, b in found.by_field.values())
    each = [w * math.log(1 + math.exp(-a) + math.exp(-2 * a)) for a, w, _ in rows]
    assert float(found.total) == pytest.approx(above, abs=1e-3)
    assert float(found.total) == pytest.approx(sum(each), abs=1e-3)
    assert below == pytest.approx(float(weights.sum()), abs=1e-4)
    assert set(found.by_field) == {FIELDS[f] for *_, f in rows}
