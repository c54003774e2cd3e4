"""Self-MM: a modality that contradicts the others comes to a label of its own."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.distilling.recipe import Recipe  # noqa: E402
from gen_msa.distilling.stepping import Stepper  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.students import Row, Sizes, students  # noqa: E402
from gen_msa.students._self_mm import Labels  # noqa: E402
from gen_msa.types import WHOLE_POST, Polarity  # noqa: E402
from tests.fixtures.posts import FEELINGS  # noqa: E402
from tests.fixtures.tiny_students import FELT, TINY, words  # noqa: E402

WIDE = {"audio": 4}
COLLATE = words(widths=WIDE)
GOOD, BAD = (
    next(f for f in FEELINGS if FELT[f] is p) for p in (Polarity.POSITIVE, Polarity.NEGATIVE)
)
EPOCHS = 8


def world(n=96):
    """Words tell the label; every fourth row's voice says the opposite. Rows and voices' signs."""
    dice, made, voices = torch.Generator().manual_seed(0), [], {}
    for i in range(n):
        sign = 1 if i % 2 else -1
        voice = -sign if i % 8 in (0, 1) else sign
        frames = 0.3 * torch.randn(3, 4, generator=dice)
        frames[:, 0] += voice
        text = f"the soup is {GOOD if sign > 0 else BAD}"
        label = Polarity.POSITIVE if sign > 0 else Polarity.NEGATIVE
        made.append(Row(str(i), text, WHOLE_POST, label, inputs={"audio": frames}))
        voices[str(i)] = voice
    return made, voices


def new(**numbers):
    torch.manual_seed(0)
    sizes = Sizes(width={"text": words().vocabulary, **WIDE})
    return students["self_mm"](sizes, **{**TINY, "sources": ["audio"], "drop": 0.0, **numbers})


def own_labels(made, column):
    return {i: float(row[1 + column]) for i, row in made.memory.items()}


@pytest.fixture(scope="module")
def learned():
    """The student, and its audio's own labels after each epoch."""
    rows, _ = world()
    told = {"output_dir": "x", "data": [{"source": "x"}], "num_train_epochs": EPOCHS}
    recipe = Recipe.model_validate({**told, "learning_rate": 1e-2, "student": "self_mm"})
    made, size = new(), 24
    stepper = Stepper(made, recipe, steps=4 * EPOCHS, rows=rows, fresh=set())
    history = []
    for epoch in range(EPOCHS):
        stepper.begin(epoch)
        for i in range(0, len(rows), size):
            stepper.step(COLLATE(rows[i : i + size]))
        history.append(own_labels(made, 1))
    return made, history


def test_own_labels_leave_the_label_of_the_whole_for_what_the_voice_says(learned):
    rows, voices = world()
    signs = {r.id: 1 if r.target is Polarity.POSITIVE else -1 for r in rows}
    odd = [i for i in voices if voices[i] != signs[i]]
    even = [i for i in voices if voices[i] == signs[i]]
    made, history = learned
    begun, ended = history[0], history[-1]
    assert len(odd) == len(rows) // 4
    assert all(begun[i] == signs[i] for i in voices)
    # 1: as the voice; -1: as the label that contradicts it.
    assert sum(ended[i] * voices[i] for i in odd) / len(odd) > 0.3
    assert sum(ended[i] * voices[i] > 0 for i in odd) / len(odd) > 0.8
    assert sum(ended[i] * voices[i] for i in even) / len(even) > 0.5
    # The words contradict nothing, and keep the label.
    text = own_labels(made, 0)
    assert sum(text[i] * signs[i] for i in voices) / len(voices) > 0.5


def test_the_later_the_epoch_the_less_a_label_moves(learned):
    _, history = learned
    steps = [
        max(abs(after[i] - before[i]) for i in before)
        for before, after in itertools.pairwise(history)
    ]
    assert steps[0] > 0.5
    for n, most in enumerate(steps, 2):
        # Scores lie in -1..1, so the guess is at most 2 away.
        assert most <= 2 * 2 / (n + 1) + 1e-6
    assert steps[-1] < steps[0]


def test_own_scores_learn_their_own_labels_and_the_whole_learns_its_label(learned):
    rows, voices = world()
    made, _ = learned
    batch = COLLATE(rows)
    with torch.no_grad():
        said = made.eval()(batch)
        score = made.own["audio"].says(said.features["hidden.audio"]).squeeze(1)
    assert said.logits.argmax(1).tolist() == batch.target.tolist()
    signs = torch.tensor([voices[i] for i in batch.ids])
    assert float((score.sign() == signs).float().mean()) > 0.9
    assert not said.losses


def test_a_move_by_hand():
    labels = Labels(("text",), reach=1.0)
    places = torch.tensor([[2.0], [-2.0]])
    scores, there = torch.tensor([1.0, -1.0]), torch.ones(2, 1, dtype=torch.bool)
    labels.learn(["a", "b"], scores, there, {"fused": places, "text": places}, 0)
    assert labels.own(["a", "b"], scores)[0].squeeze(1).tolist() == [1.0, -1.0]
    # Fused: 1 from the positive centre, 3 from the other: (3 - 1) / 1 = 2. Text: 3 and 1: -2 / 3.
    shown = {"fused": torch.tensor([[1.0]]), "text": torch.tensor([[-1.0]])}
    labels.learn(["a"], scores[:1], there[:1], shown, 2)
    leaning = -2 / 3
    guess = max(-1.0, (1 * leaning / 2 + 1 + leaning - 2) / 2)
    # Third epoch: half of the label that was, half of the guess.
    moved = 0.5 * 1.0 + 0.5 * guess
    found, weight = labels.own(["a"], scores[:1])
    assert float(found) == pytest.approx(moved, abs=1e-5)
    assert float(weight) == pytest.approx(math.tanh(abs(moved - 1.0)), abs=1e-5)


def test_what_is_absent_has_no_label_of_its_own_and_is_in_no_centre():
    made, rows = new().train(), world(8)[0]
    bare = [Row(r.id, r.text, r.aspect, r.target) for r in rows]
    batch = COLLATE(bare)
    said = made(batch)
    assert said.losses["own.audio"].item() == 0
    assert said.losses["own.text"].item() > 0
    made.learned(batch, said, 0)
    assert all(math.isnan(v) for v in own_labels(made, 1).values())
    made.learned(batch, made(batch), 1)
    assert not any(math.isnan(v) for v in own_labels(made, 0).values())
    assert all(loss.isfinite() for loss in made(batch).losses.values())


def test_without_a_label_a_teachers_probabilities_are_the_score():
    rows = [Row("1", "the soup", WHOLE_POST, soft=(0.1, 0.2, 0.7)), Row("2", "it", WHOLE_POST)]
    made = new().train()
    batch = COLLATE(rows)
    made.learned(batch, made(batch), 0)
    assert set(made.memory) == {"1"}
    assert float(made.memory["1"][0]) == pytest.approx(0.6)


def test_reading_needs_no_memory_and_does_not_change_it(learned):
    made, _ = learned
    before = {k: v.clone() for k, v in made.memory.items()}
    again = new()
    again.load_state_dict(made.state_dict())
    batch = COLLATE(world(8)[0])
    assert torch.equal(again.eval()(batch).logits, made.eval()(batch).logits)
    for name, row in made.memory.items():
        assert torch.equal(row.nan_to_num(9), before[name].nan_to_num(9))
    assert not any("memory" in n or "label" in n for n in made.state_dict())


def test_numbers_and_data_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="one or both of audio, video"):
        new(sources=["smell"])
    with pytest.raises(ValueError, match="no post of the data has video"):
        new(sources=["video"])
    with pytest.raises(UserError, match=r"audio of 3 steps(?s:.*)source_steps"):
        new(source_steps=2)(COLLATE(world(1)[0]))
