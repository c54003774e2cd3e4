"""Self-MM: a modality that contradicts the others gets a label of its own."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.distillation.recipe import DistillRecipe  # noqa: E402
from gen_msa.distillation.train_step import StudentTrainStep  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.models import AspectExample, InputDims, models  # noqa: E402
from gen_msa.models.self_mm import UnimodalLabelGenerator  # noqa: E402
from gen_msa.types import OVERALL_ASPECT, Polarity  # noqa: E402
from tests.fixtures.posts import FEELINGS  # noqa: E402
from tests.fixtures.tiny_students import POLARITY_OF_FEELING, TINY, make_collator  # noqa: E402

FEATURE_WIDTHS = {"audio": 4}
COLLATE = make_collator(widths=FEATURE_WIDTHS)
POSITIVE_WORD, NEGATIVE_WORD = (
    next(f for f in FEELINGS if POLARITY_OF_FEELING[f] is p)
    for p in (Polarity.POSITIVE, Polarity.NEGATIVE)
)
EPOCHS = 8


def make_conflicting_rows(n=96):
    """Return rows whose text gives the label, and the signs of their audio.

    The audio of every fourth row has the opposite sign.
    """
    rng, rows, audio_signs = torch.Generator().manual_seed(0), [], {}
    for i in range(n):
        sign = 1 if i % 2 else -1
        audio_sign = -sign if i % 8 in (0, 1) else sign
        frames = 0.3 * torch.randn(3, 4, generator=rng)
        frames[:, 0] += audio_sign
        text = f"the soup is {POSITIVE_WORD if sign > 0 else NEGATIVE_WORD}"
        label = Polarity.POSITIVE if sign > 0 else Polarity.NEGATIVE
        rows.append(AspectExample(str(i), text, OVERALL_ASPECT, label, inputs={"audio": frames}))
        audio_signs[str(i)] = audio_sign
    return rows, audio_signs


def build_model(**config):
    torch.manual_seed(0)
    input_dims = InputDims(width={"text": make_collator().vocab_size, **FEATURE_WIDTHS})
    return models["self_mm"](
        input_dims, **{**TINY, "sources": ["audio"], "fusion_dropout": 0.0, **config}
    )


def unimodal_labels(model, column):
    return {i: float(row[1 + column]) for i, row in model.memory.items()}


@pytest.fixture(scope="module")
def trained_model():
    """Train a student; return it with its audio labels after each epoch."""
    rows, _ = make_conflicting_rows()
    fields = {"output_dir": "x", "data": [{"source": "x"}], "num_train_epochs": EPOCHS}
    recipe = DistillRecipe.model_validate({**fields, "learning_rate": 1e-2, "student": "self_mm"})
    model, batch_size = build_model(), 24
    train_step = StudentTrainStep(model, recipe, steps=4 * EPOCHS, rows=rows, new_params=set())
    history = []
    for epoch in range(EPOCHS):
        train_step.set_epoch(epoch)
        for i in range(0, len(rows), batch_size):
            train_step.run(COLLATE(rows[i : i + batch_size]))
        history.append(unimodal_labels(model, 1))
    return model, history


def test_unimodal_labels_move_towards_their_modality(trained_model):
    rows, audio_signs = make_conflicting_rows()
    signs = {r.id: 1 if r.target is Polarity.POSITIVE else -1 for r in rows}
    conflicting = [i for i in audio_signs if audio_signs[i] != signs[i]]
    consistent = [i for i in audio_signs if audio_signs[i] == signs[i]]
    model, history = trained_model
    first_labels, last_labels = history[0], history[-1]
    assert len(conflicting) == len(rows) // 4
    assert all(first_labels[i] == signs[i] for i in audio_signs)
    # 1: as the voice; -1: as the label that contradicts it.
    assert sum(last_labels[i] * audio_signs[i] for i in conflicting) / len(conflicting) > 0.3
    assert sum(last_labels[i] * audio_signs[i] > 0 for i in conflicting) / len(conflicting) > 0.8
    assert sum(last_labels[i] * audio_signs[i] for i in consistent) / len(consistent) > 0.5
    # The words contradict nothing, and keep the label.
    text_labels = unimodal_labels(model, 0)
    assert sum(text_labels[i] * signs[i] for i in audio_signs) / len(audio_signs) > 0.5


def test_label_updates_shrink_over_epochs(trained_model):
    _, history = trained_model
    steps = [
        max(abs(after[i] - before[i]) for i in before)
        for before, after in itertools.pairwise(history)
    ]
    assert steps[0] > 0.5
    for n, max_move in enumerate(steps, 2):
        # Scores lie in -1..1, so the guess is at most 2 away.
        assert max_move <= 2 * 2 / (n + 1) + 1e-6
    assert steps[-1] < steps[0]


def test_unimodal_heads_and_fusion_learn_their_labels(trained_model):
    rows, audio_signs = make_conflicting_rows()
    model, _ = trained_model
    batch = COLLATE(rows)
    with torch.no_grad():
        output = model.eval()(batch)
        score = model.unimodal_heads["audio"].out(output.features["hidden.audio"]).squeeze(1)
    assert output.logits.argmax(1).tolist() == batch.target.tolist()
    signs = torch.tensor([audio_signs[i] for i in batch.ids])
    assert float((score.sign() == signs).float().mean()) > 0.9
    assert not output.losses


def test_label_update_matches_hand_computation():
    labels = UnimodalLabelGenerator(("text",), label_range=1.0)
    representations = torch.tensor([[2.0], [-2.0]])
    scores, is_present = torch.tensor([1.0, -1.0]), torch.ones(2, 1, dtype=torch.bool)
    labels.update(
        ["a", "b"], scores, is_present, {"fused": representations, "text": representations}, 0
    )
    assert labels.unimodal_labels(["a", "b"], scores)[0].squeeze(1).tolist() == [1.0, -1.0]
    # Fused: 1 from the positive centre, 3 from the other: (3 - 1) / 1 = 2. Text: 3 and 1: -2 / 3.
    new_representations = {"fused": torch.tensor([[1.0]]), "text": torch.tensor([[-1.0]])}
    labels.update(["a"], scores[:1], is_present[:1], new_representations, 2)
    relative_distance = -2 / 3
    guess = max(-1.0, (1 * relative_distance / 2 + 1 + relative_distance - 2) / 2)
    # Third epoch: half of the label that was, half of the guess.
    expected_label = 0.5 * 1.0 + 0.5 * guess
    label, weight = labels.unimodal_labels(["a"], scores[:1])
    assert float(label) == pytest.approx(expected_label, abs=1e-5)
    assert float(weight) == pytest.approx(math.tanh(abs(expected_label - 1.0)), abs=1e-5)


def test_absent_modality_has_no_label_and_no_center():
    model, rows = build_model().train(), make_conflicting_rows(8)[0]
    rows_without_audio = [AspectExample(r.id, r.text, r.aspect, r.target) for r in rows]
    batch = COLLATE(rows_without_audio)
    output = model(batch)
    assert output.losses["unimodal.audio"].item() == 0
    assert output.losses["unimodal.text"].item() > 0
    model.on_step_end(batch, output, 0)
    assert all(math.isnan(v) for v in unimodal_labels(model, 1).values())
    model.on_step_end(batch, model(batch), 1)
    assert not any(math.isnan(v) for v in unimodal_labels(model, 0).values())
    assert all(loss.isfinite() for loss in model(batch).losses.values())


def test_teacher_probs_replace_a_missing_label():
    rows = [
        AspectExample("1", "the soup", OVERALL_ASPECT, teacher_probs=(0.1, 0.2, 0.7)),
        AspectExample("2", "it", OVERALL_ASPECT),
    ]
    model = build_model().train()
    batch = COLLATE(rows)
    model.on_step_end(batch, model(batch), 0)
    assert set(model.memory) == {"1"}
    assert float(model.memory["1"][0]) == pytest.approx(0.6)


def test_inference_needs_no_row_memory(trained_model):
    model, _ = trained_model
    before = {k: v.clone() for k, v in model.memory.items()}
    fresh_model = build_model()
    fresh_model.load_state_dict(model.state_dict())
    batch = COLLATE(make_conflicting_rows(8)[0])
    assert torch.equal(fresh_model.eval()(batch).logits, model.eval()(batch).logits)
    for name, row in model.memory.items():
        assert torch.equal(row.nan_to_num(9), before[name].nan_to_num(9))
    assert not any("memory" in n or "label" in n for n in model.state_dict())


def test_invalid_config_and_data_are_errors():
    with pytest.raises(ValueError, match="one or both of audio, video"):
        build_model(sources=["smell"])
    with pytest.raises(ValueError, match="no post of the data has video"):
        build_model(sources=["video"])
    with pytest.raises(UserError, match=r"audio has 3 steps(?s:.*)source_steps"):
        build_model(source_steps=2)(COLLATE(make_conflicting_rows(1)[0]))
