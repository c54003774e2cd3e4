"""Losses: equal to torch's own where torch has them, and silent rows are in no mean."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.nn import functional  # noqa: E402

from gen_msa.distilling import losses  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402


def some(rows=6, classes=3, seed=0):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("by_class", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_with_rows_alike_the_hard_loss_is_torchs_cross_entropy(smoothing, by_class):
    logits, target = some(), torch.tensor([0, 1, 2, -1, 1, 0])
    own = losses.hard(logits, target, torch.ones(6), by_class=by_class, smoothing=smoothing)
    theirs = functional.cross_entropy(
        logits, target, weight=by_class, ignore_index=-1, label_smoothing=smoothing
    )
    assert float(own) == pytest.approx(float(theirs), rel=1e-6)


def test_a_row_of_weight_two_counts_as_two_rows():
    logits, target = some(3), torch.tensor([0, 1, 2])
    twice = losses.hard(logits[[0, 1, 2, 2]], target[[0, 1, 2, 2]], torch.ones(4))
    assert float(losses.hard(logits, target, torch.tensor([1.0, 1.0, 2.0]))) == pytest.approx(
        float(twice)
    )


def test_without_a_label_there_is_nothing_to_lose():
    assert float(losses.hard(some(2), torch.tensor([-1, -1]), torch.ones(2))) == 0.0


def test_the_soft_loss_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    shares = torch.tensor([[0.25, 0.25, 0.5]])
    by_hand = 0.25 * math.log(0.25 / 0.5) + 0.5 * math.log(0.5 / 0.25)
    assert float(losses.soft(logits, shares, torch.ones(1))) == pytest.approx(by_hand, rel=1e-5)


def test_a_student_that_says_what_its_teacher_says_loses_nothing_at_any_temperature():
    logits = some()
    for temperature in (0.5, 1.0, 4.0):
        lost = losses.soft(logits, logits.softmax(1), torch.ones(6), temperature=temperature)
        assert float(lost) == pytest.approx(0.0, abs=1e-5)


def test_at_a_temperature_the_soft_loss_is_hintons():
    logits, taught = some(), some(seed=1)
    own = losses.soft(logits, taught.softmax(1), torch.ones(6), temperature=3.0)
    theirs = 9 * functional.kl_div(
        (logits / 3).log_softmax(1), (taught / 3).softmax(1), reduction="batchmean"
    )
    assert float(own) == pytest.approx(float(theirs), rel=1e-4)


def test_rows_without_a_teacher_are_in_no_mean():
    logits, shares = some(2), some(2, seed=1).softmax(1)
    alone = losses.soft(logits[:1], shares[:1], torch.ones(1))
    shares[1] = 0
    assert float(losses.soft(logits, shares, torch.ones(2))) == pytest.approx(float(alone))


def test_features_are_compared_by_name_and_shape():
    own, taught = {"a": torch.zeros(2, 3)}, {"a": torch.full((2, 3), 0.5), "b": torch.zeros(1)}
    assert float(losses.features(own, taught, {"a": 4.0})) == pytest.approx(2.0)
    with pytest.raises(UserError, match="the student has no b; it has a"):
        losses.features(own, taught, {"b": 1.0})
    with pytest.raises(UserError, match=r"a is \(2, 3\) and \(3, 2\)"):
        losses.features(own, {"a": torch.zeros(3, 2)}, {"a": 1.0})
