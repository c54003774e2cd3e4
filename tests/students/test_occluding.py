"""Words that carry an answer are found by taking them away; words that do not are not named."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

from gen_msa.students import CLASSES, Row  # noqa: E402
from gen_msa.students.common.occluding import (  # noqa: E402
    Limits,
    carriers,
    without,
    words_of,
)
from gen_msa.students.common.reading import probabilities  # noqa: E402
from gen_msa.types import WHOLE_POST, Aspect, Polarity  # noqa: E402
from tests.fixtures.tiny_students import student, words  # noqa: E402

SOUP = Aspect(term="soup", start=4)


class Asked:
    """A reader whose probability of "positive" is a function of the row; counts its questions."""

    def __init__(self, positive):
        self.positive = positive
        self.rows = []

    def __call__(self, rows):
        self.rows += rows
        return [[(1 - p) / 2, (1 - p) / 2, p] for p in map(self.positive, rows)]


def found(row, positive, **limits):
    ask = Asked(positive)
    (carried,) = carriers([row], ask([row]), ask, Limits(**limits))
    return [row.text[a:b] for a, b in carried.words], carried, ask


def test_the_one_word_that_decides_is_found_and_no_other():
    row = Row("1", "The soup was great, and so on and on", SOUP)
    said, carried, _ = found(row, lambda r: 0.9 if "great" in r.text else 0.2)
    assert said == ["great"]
    assert carried.drop == pytest.approx(0.7)


def test_words_that_say_the_same_are_found_together():
    row = Row("1", "The soup was great, just superb", SOUP)
    said, carried, _ = found(
        row,
        lambda r: (
            0.9
            - 0.01 * ("great" not in r.text)
            - 0.02 * ("superb" not in r.text)
            - 0.6 * ("great" not in r.text and "superb" not in r.text)
        ),
    )
    assert said == ["superb", "great"]
    assert carried.drop > 0.6


def test_where_nothing_counts_nothing_is_named():
    row = Row("1", "The soup was great", SOUP)
    assert found(row, lambda r: 0.9 - 0.001 * len(r.text))[0] == []
    said, carried, _ = found(row, lambda r: 0.9 if "great" in r.text else 0.85)
    assert (said, carried.drop) == ([], 0.0)


def test_words_of_the_aspect_are_never_taken_away():
    row = Row("1", "The soup was hot. Soup!", SOUP)
    _, _, ask = found(row, lambda r: 0.9 if "soup" in r.text else 0.3)
    assert all(r.text[r.aspect.start : r.aspect.end] == "soup" for r in ask.rows)
    assert [row.text[a:b] for a, b in words_of(row)] == ["The", "was", "hot"]
    unplaced = Row("1", row.text, Aspect(term="SOUP"))
    assert words_of(unplaced) == words_of(row)


def test_a_long_text_costs_little_and_its_word_is_found():
    texts = ["dull " * n + "great " + "grey " * n for n in (10, 60, 700)]
    for text in texts:
        said, _, ask = found(
            Row("1", text, WHOLE_POST), lambda r: 0.9 - 0.7 * ("great" not in r.text)
        )
        assert said == ["great"]
        assert len(ask.rows) < 48 * 6


def test_all_rows_are_asked_about_at_once():
    calls = []

    def ask(rows):
        calls.append(len(rows))
        return [[0.1, 0.1, 0.8]] * len(rows)

    rows = [Row(str(i), "The soup was great", SOUP) for i in range(5)]
    carriers(rows, ask(rows), ask)
    assert calls == [5, 15]


def test_a_picture_and_a_context_are_taken_away_whole():
    row = Row("1", "", WHOLE_POST, inputs={"picture": torch.ones(1, 2), "audio": torch.ones(1, 2)})
    row = replace(row, context="a smiling face")
    _, carried, _ = found(
        row, lambda r: 0.3 + 0.4 * ("picture" in r.inputs) + 0.2 * bool(r.context)
    )
    assert carried.others == {"picture": pytest.approx(0.4), "context": pytest.approx(0.2)}


def test_a_row_without_numbers_carries_nothing():
    rows = [Row("1", "great soup", WHOLE_POST), Row("2", "great soup", WHOLE_POST)]
    ask = Asked(lambda r: 0.9 if "great" in r.text else 0.2)
    nan, other = carriers(rows, [[float("nan")] * 3, ask(rows)[1]], ask)
    assert nan.words == ()
    assert other.words == ((0, 5),)


def test_a_loss_that_is_no_number_names_nothing():
    row = Row("1", "great soup", WHOLE_POST)
    assert found(row, lambda r: 0.9 if r.text == row.text else float("nan"))[0] == []


@given(st.text(max_size=60), st.text(min_size=1, max_size=8), st.text(max_size=60), st.randoms())
def test_what_is_taken_out_is_gone_and_the_aspect_stays_in_place(left, term, right, dice):
    row = Row("1", left + term + right, Aspect(term=term, start=len(left)))
    some = words_of(row)
    for begin, end in some:
        assert end <= len(left) or begin >= len(left) + len(term)
    chosen = [w for w in some if dice.random() < 0.5]
    cut = without(row, chosen)
    assert len(cut.text) <= len(row.text) - sum(b - a for a, b in chosen)
    kept = "".join(c for i, c in enumerate(row.text) if not any(a <= i < b for a, b in chosen))
    assert "".join(cut.text.split()) == "".join(kept.split()) or term.strip() != term
    if term.strip() == term:
        assert cut.text[cut.aspect.start : cut.aspect.end] == term


@pytest.mark.parametrize("text", ["don't go", "a cafe\u0301 here", "so :) happy", "gut 好 👍"])
def test_words_are_whole(text):
    said = {text[a:b] for a, b in words_of(Row("1", text, WHOLE_POST))}
    assert said & {"don't", "cafe\u0301", ":)", "👍"}


@pytest.fixture(scope="module")
def trained():
    """A tiny student that has learned what three words mean, among others that mean nothing."""
    torch.manual_seed(0)
    made, collate, rows = student(), words(), _rows(96)
    batch = collate(rows)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(made(batch).logits, batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda some: probabilities(made, collate, some)


KEYS = {"great": Polarity.POSITIVE, "awful": Polarity.NEGATIVE}


def _rows(n, seed=0, *, keyless=True):
    """Texts with one word that means something; some, neutral, with none."""
    dice = random.Random(seed)
    made = []
    for i in range(n):
        key = dice.choice([*KEYS, ""] if keyless else [*KEYS])
        told = dice.choices(["was", "it", "train", "beach", "than", "thing"], k=dice.randint(3, 7))
        told.insert(dice.randrange(len(told) + 1), key)
        text = " ".join(["the", "soup", *filter(None, told)])
        made.append(Row(f"{i}", text, SOUP, KEYS.get(key, Polarity.NEUTRAL)))
    return made


def test_a_trained_student_hangs_on_exactly_the_word_that_decides(trained):
    rows = _rows(60, seed=1)
    said = trained(rows)
    assert [CLASSES[s.index(max(s))] for s in said] == [r.target for r in rows]
    for row, carried in zip(rows, carriers(rows, said, trained), strict=True):
        assert [row.text[a:b] for a, b in carried.words] == [
            w for w in row.text.split() if w in KEYS
        ]


def test_evidence_costs_more_than_as_many_other_words(trained):
    rows, dice = _rows(40, seed=2, keyless=False), random.Random(0)
    said = trained(rows)
    more = []
    for row, shares, carried in zip(rows, said, carriers(rows, said, trained), strict=True):
        others = [w for w in words_of(row) if w not in carried.words]
        chance = dice.sample(others, len(carried.words))
        kept, lost = trained([without(row, chance), without(row, carried.words)])
        k = shares.index(max(shares))
        more.append(kept[k] - lost[k])
    assert sum(more) / len(more) > 0.8
