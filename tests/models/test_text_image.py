"""The student with images equals the text path without one, and uses the image where it decides."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.models import CLASSES, AspectExample, Batch, InputDims, models  # noqa: E402
from gen_msa.models.inference.predict import predict_probabilities  # noqa: E402
from gen_msa.models.layers import text_encoder  # noqa: E402
from gen_msa.types import OVERALL_ASPECT  # noqa: E402
from tests.fixtures.posts import FEELINGS  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    POLARITY_OF_FEELING,
    TINY,
    WIDTH,
    make_collator,
    make_student,
    rows,
    with_features,
)

COLLATE = make_collator(widths={"image": WIDTH})


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _text_logits(model, batch: Batch) -> torch.Tensor:
    encoded = text_encoder.encode(model.encoder, batch)
    return model.head(torch.cat([encoded.text, encoded.aspect], dim=1))


def test_without_image_logits_equal_the_text_path():
    model = make_student("text_image").eval()
    batch = COLLATE([*rows(3), *with_features(rows(2, 3))])
    output = model(batch)
    assert batch.present["image"].tolist() == [False] * 3 + [True] * 2
    equals_text = (output.logits == _text_logits(model, batch)).all(1)
    assert equals_text.tolist() == [True] * 3 + [False] * 2
    gate_values = output.features["gate"]
    assert gate_values[:3].tolist() == [0.0] * 3
    assert ((gate_values[3:] > 0) & (gate_values[3:] < 1)).all()


def test_image_padding_is_ignored():
    model = make_student("text_image").eval()
    short, long = with_features(rows(1)), with_features(rows(1, 1), steps=9)
    batch = COLLATE([*short, *long])
    filled_inputs = {
        **batch.inputs,
        "image": batch.inputs["image"].masked_fill(_padding(batch), 9.0),
    }
    assert torch.equal(model(batch).logits, model(replace(batch, inputs=filled_inputs)).logits)
    changed_inputs = {
        **batch.inputs,
        "image": batch.inputs["image"] + (~_padding(batch)).float()[..., :1],
    }
    changed_inputs["image"][..., 0] += 1
    assert not torch.allclose(
        model(batch).logits, model(replace(batch, inputs=changed_inputs)).logits
    )


def _padding(batch: Batch) -> torch.Tensor:
    return ~batch.mask["image"].unsqueeze(-1)


def test_image_dropout_applies_only_in_training():
    model = make_student("text_image", image_dropout=0.5, image_feature_dropout=0.0)
    batch = COLLATE(with_features(rows(1)) * 400)
    assert 120 < (model.train()(batch).features["gate"] == 0).sum() < 280
    assert (model.eval()(batch).features["gate"] > 0).all()


def test_data_without_images_is_rejected_with_a_hint():
    with pytest.raises(ValueError, match="use the student `text`"):
        models["text_image"](InputDims(width={"text": 40}), **TINY)


def _make_rows(n: int, start: int, *, image_decides: bool) -> list[AspectExample]:
    """Return posts with a phrase in the text and a class in one step of the image.

    `image_decides` says which of the two is the label.
    """
    rng = torch.Generator().manual_seed(start)
    examples = []
    for i in range(n):
        feeling = FEELINGS[int(torch.randint(6, (), generator=rng))]
        image_class, step = torch.randint(3, (2,), generator=rng).tolist()
        image = 0.3 * torch.randn(4, WIDTH, generator=rng)
        image[step, image_class] += 2.0
        target = CLASSES[image_class] if image_decides else POLARITY_OF_FEELING[feeling]
        text, inputs = f"the soup is {feeling}", {"image": image}
        examples.append(AspectExample(f"{start + i}", text, OVERALL_ASPECT, target, inputs=inputs))
    return examples


def _train(data: list[AspectExample], *, steps: int = 250):
    torch.manual_seed(1)
    model = make_student("text_image").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = torch.Generator().manual_seed(2)
    for _ in range(steps):
        batch = COLLATE([data[i] for i in torch.randint(len(data), (32,), generator=rng)])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch).logits, batch.target).backward()
        optimizer.step()
    return model


def _accuracy(model, data: list[AspectExample]) -> float:
    probs = predict_probabilities(model, COLLATE, data)
    is_correct = [CLASSES[p.index(max(p))] is r.target for p, r in zip(probs, data, strict=True)]
    return sum(is_correct) / len(is_correct)


def _swap_images(data: list[AspectExample]) -> list[AspectExample]:
    """Return each row with the image of the next."""
    return [replace(r, inputs=n.inputs) for r, n in zip(data, [*data[1:], data[0]], strict=True)]


def _without_images(data: list[AspectExample]) -> list[AspectExample]:
    return [replace(r, inputs={}) for r in data]


def test_image_is_used_when_it_decides():
    model = _train(_make_rows(400, 0, image_decides=True))
    held_out = _make_rows(200, 9000, image_decides=True)
    accuracy = _accuracy(model, held_out)
    assert accuracy > 0.9
    assert accuracy > _accuracy(model, _swap_images(held_out)) + 0.4
    assert accuracy > _accuracy(model, _without_images(held_out)) + 0.4


def test_image_is_ignored_when_text_decides():
    model = _train(_make_rows(400, 0, image_decides=False))
    held_out = _make_rows(200, 9000, image_decides=False)
    accuracy = _accuracy(model, held_out)
    assert accuracy > 0.95
    assert abs(accuracy - _accuracy(model, _swap_images(held_out))) < 0.03
    assert abs(accuracy - _accuracy(model, _without_images(held_out))) < 0.03
