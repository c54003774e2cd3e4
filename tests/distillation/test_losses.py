"""Losses equal those of torch where it has them; rows without a target are in no mean."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.nn import functional  # noqa: E402

from gen_msa.distillation import train_step  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402


def random_logits(rows=6, classes=3, seed=0):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("by_class", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_label_loss_with_equal_weights_is_cross_entropy(smoothing, by_class):
    logits, target = random_logits(), torch.tensor([0, 1, 2, -1, 1, 0])
    own_loss = train_step.label_cross_entropy(
        logits, target, torch.ones(6), by_class=by_class, smoothing=smoothing
    )
    torch_loss = functional.cross_entropy(
        logits, target, weight=by_class, ignore_index=-1, label_smoothing=smoothing
    )
    assert float(own_loss) == pytest.approx(float(torch_loss), rel=1e-6)


def test_row_weight_two_counts_as_two_rows():
    logits, target = random_logits(3), torch.tensor([0, 1, 2])
    repeated_loss = train_step.label_cross_entropy(
        logits[[0, 1, 2, 2]], target[[0, 1, 2, 2]], torch.ones(4)
    )
    assert float(
        train_step.label_cross_entropy(logits, target, torch.tensor([1.0, 1.0, 2.0]))
    ) == pytest.approx(float(repeated_loss))


def test_label_loss_without_labels_is_zero():
    assert (
        float(
            train_step.label_cross_entropy(random_logits(2), torch.tensor([-1, -1]), torch.ones(2))
        )
        == 0.0
    )


def test_distillation_kl_matches_hand_computation():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    probs = torch.tensor([[0.25, 0.25, 0.5]])
    expected = 0.25 * math.log(0.25 / 0.5) + 0.5 * math.log(0.5 / 0.25)
    assert float(train_step.distillation_kl(logits, probs, torch.ones(1))) == pytest.approx(
        expected, rel=1e-5
    )


def test_distillation_kl_of_equal_logits_is_zero():
    logits = random_logits()
    for temperature in (0.5, 1.0, 4.0):
        loss = train_step.distillation_kl(
            logits, logits.softmax(1), torch.ones(6), temperature=temperature
        )
        assert float(loss) == pytest.approx(0.0, abs=1e-5)


def test_distillation_kl_scales_with_squared_temperature():
    logits, teacher_logits = random_logits(), random_logits(seed=1)
    own_loss = train_step.distillation_kl(
        logits, teacher_logits.softmax(1), torch.ones(6), temperature=3.0
    )
    torch_loss = 9 * functional.kl_div(
        (logits / 3).log_softmax(1), (teacher_logits / 3).softmax(1), reduction="batchmean"
    )
    assert float(own_loss) == pytest.approx(float(torch_loss), rel=1e-4)


def test_rows_without_teacher_are_excluded_from_the_mean():
    logits, probs = random_logits(2), random_logits(2, seed=1).softmax(1)
    first_row_loss = train_step.distillation_kl(logits[:1], probs[:1], torch.ones(1))
    probs[1] = 0
    assert float(train_step.distillation_kl(logits, probs, torch.ones(2))) == pytest.approx(
        float(first_row_loss)
    )


def test_feature_l1_checks_name_and_shape():
    student_features, teacher_features = (
        {"a": torch.zeros(2, 3)},
        {"a": torch.full((2, 3), 0.5), "b": torch.zeros(1)},
    )
    assert float(
        train_step.feature_l1(student_features, teacher_features, {"a": 4.0})
    ) == pytest.approx(2.0)
    with pytest.raises(UserError, match="the student has no b; it has a"):
        train_step.feature_l1(student_features, teacher_features, {"b": 1.0})
    with pytest.raises(UserError, match=r"a is \(2, 3\) and \(3, 2\)"):
        train_step.feature_l1(student_features, {"a": torch.zeros(3, 2)}, {"a": 1.0})
