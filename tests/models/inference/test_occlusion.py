"""Occlusion finds the words that decide an answer, and no others."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

from gen_msa.models import CLASSES, AspectExample  # noqa: E402
from gen_msa.models.inference.occlusion import (  # noqa: E402
    OcclusionLimits,
    attribute,
    candidate_spans,
    cut_row,
    remove_spans,
)
from gen_msa.models.inference.predict import predict_probabilities  # noqa: E402
from gen_msa.types import OVERALL_ASPECT, Aspect, Polarity  # noqa: E402
from tests.fixtures.tiny_students import make_collator, make_student  # noqa: E402

SOUP = Aspect(term="soup", start=4)


class CountingPredictor:
    """A predictor whose probability of "positive" is a function of the row; records its rows."""

    def __init__(self, positive_prob):
        self.positive_prob = positive_prob
        self.rows = []

    def __call__(self, rows):
        self.rows += rows
        return [[(1 - p) / 2, (1 - p) / 2, p] for p in map(self.positive_prob, rows)]


def attribute_row(row, positive_prob, **limits):
    predict = CountingPredictor(positive_prob)
    (attribution,) = attribute([row], predict([row]), predict, OcclusionLimits(**limits))
    return [row.text[a:b] for a, b in attribution.spans], attribution, predict


def test_only_the_deciding_word_is_found():
    row = AspectExample("1", "The soup was great, and so on and on", SOUP)
    found_words, attribution, _ = attribute_row(row, lambda r: 0.9 if "great" in r.text else 0.2)
    assert found_words == ["great"]
    assert attribution.drop == pytest.approx(0.7)


def test_redundant_words_are_found_together():
    row = AspectExample("1", "The soup was great, just superb", SOUP)
    found_words, attribution, _ = attribute_row(
        row,
        lambda r: (
            0.9
            - 0.01 * ("great" not in r.text)
            - 0.02 * ("superb" not in r.text)
            - 0.6 * ("great" not in r.text and "superb" not in r.text)
        ),
    )
    assert found_words == ["superb", "great"]
    assert attribution.drop > 0.6


def test_no_words_are_found_without_effect():
    row = AspectExample("1", "The soup was great", SOUP)
    assert attribute_row(row, lambda r: 0.9 - 0.001 * len(r.text))[0] == []
    found_words, attribution, _ = attribute_row(row, lambda r: 0.9 if "great" in r.text else 0.85)
    assert (found_words, attribution.drop) == ([], 0.0)


def test_aspect_words_are_never_removed():
    row = AspectExample("1", "The soup was hot. Soup!", SOUP)
    _, _, predict = attribute_row(row, lambda r: 0.9 if "soup" in r.text else 0.3)
    assert all(r.text[r.aspect.start : r.aspect.end] == "soup" for r in predict.rows)
    assert [row.text[a:b] for a, b in candidate_spans(row)] == ["The", "was", "hot"]
    without_offset = AspectExample("1", row.text, Aspect(term="SOUP"))
    assert candidate_spans(without_offset) == candidate_spans(row)


def test_long_text_needs_few_predictions():
    texts = ["dull " * n + "great " + "grey " * n for n in (10, 60, 700)]
    for text in texts:
        found_words, _, predict = attribute_row(
            AspectExample("1", text, OVERALL_ASPECT), lambda r: 0.9 - 0.7 * ("great" not in r.text)
        )
        assert found_words == ["great"]
        assert len(predict.rows) < 48 * 6


def test_rows_are_predicted_in_one_batch():
    calls = []

    def predict(rows):
        calls.append(len(rows))
        return [[0.1, 0.1, 0.8]] * len(rows)

    rows = [AspectExample(str(i), "The soup was great", SOUP) for i in range(5)]
    attribute(rows, predict(rows), predict)
    assert calls == [5, 15]


def test_image_and_context_are_removed_entirely():
    row = AspectExample(
        "1", "", OVERALL_ASPECT, inputs={"image": torch.ones(1, 2), "audio": torch.ones(1, 2)}
    )
    row = replace(row, context="a smiling face")
    _, attribution, _ = attribute_row(
        row, lambda r: 0.3 + 0.4 * ("image" in r.inputs) + 0.2 * bool(r.context)
    )
    assert attribution.part_drops == {"image": pytest.approx(0.4), "context": pytest.approx(0.2)}


def test_nan_probs_give_empty_attribution():
    rows = [
        AspectExample("1", "great soup", OVERALL_ASPECT),
        AspectExample("2", "great soup", OVERALL_ASPECT),
    ]
    predict = CountingPredictor(lambda r: 0.9 if "great" in r.text else 0.2)
    nan_attribution, attribution = attribute(rows, [[float("nan")] * 3, predict(rows)[1]], predict)
    assert nan_attribution.spans == ()
    assert attribution.spans == ((0, 5),)


def test_nan_drop_finds_no_words():
    row = AspectExample("1", "great soup", OVERALL_ASPECT)
    assert attribute_row(row, lambda r: 0.9 if r.text == row.text else float("nan"))[0] == []


@given(st.text(max_size=60), st.text(min_size=1, max_size=8), st.text(max_size=60), st.randoms())
def test_removed_spans_are_gone_and_aspect_offset_is_adjusted(text_before, term, text_after, rng):
    row = AspectExample(
        "1", text_before + term + text_after, Aspect(term=term, start=len(text_before))
    )
    spans = candidate_spans(row)
    for begin, end in spans:
        assert end <= len(text_before) or begin >= len(text_before) + len(term)
    removed = [w for w in spans if rng.random() < 0.5]
    shortened = remove_spans(row, removed)
    assert len(shortened.text) <= len(row.text) - sum(b - a for a, b in removed)
    expected_text = "".join(
        c for i, c in enumerate(row.text) if not any(a <= i < b for a, b in removed)
    )
    assert "".join(shortened.text.split()) == "".join(expected_text.split()) or term.strip() != term
    if term.strip() == term:
        assert shortened.text[shortened.aspect.start : shortened.aspect.end] == term


@pytest.mark.parametrize("text", ["don't go", "a cafe\u0301 here", "so :) happy", "gut 好 👍"])
def test_candidate_spans_are_full_words(text):
    found_words = {text[a:b] for a, b in candidate_spans(AspectExample("1", text, OVERALL_ASPECT))}
    assert found_words & {"don't", "cafe\u0301", ":)", "👍"}


@pytest.fixture(scope="module")
def trained_predict():
    """Train a tiny student on two keywords among words without meaning."""
    torch.manual_seed(0)
    model, collate, rows = make_student(), make_collator(), _keyword_rows(96)
    batch = collate(rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(model(batch).logits, batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda batch_rows: predict_probabilities(model, collate, batch_rows)


KEYWORDS = {"great": Polarity.POSITIVE, "awful": Polarity.NEGATIVE}


def _keyword_rows(n, seed=0, *, with_neutral=True):
    """Return texts with one keyword, or with none if neutral."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        keyword = rng.choice([*KEYWORDS, ""] if with_neutral else [*KEYWORDS])
        text_words = rng.choices(
            ["was", "it", "train", "beach", "than", "thing"], k=rng.randint(3, 7)
        )
        text_words.insert(rng.randrange(len(text_words) + 1), keyword)
        text = " ".join(["the", "soup", *filter(None, text_words)])
        rows.append(AspectExample(f"{i}", text, SOUP, KEYWORDS.get(keyword, Polarity.NEUTRAL)))
    return rows


def test_trained_model_attribution_is_the_keyword(trained_predict):
    rows = _keyword_rows(60, seed=1)
    predictions = trained_predict(rows)
    assert [CLASSES[s.index(max(s))] for s in predictions] == [r.target for r in rows]
    for row, attribution in zip(rows, attribute(rows, predictions, trained_predict), strict=True):
        assert [row.text[a:b] for a, b in attribution.spans] == [
            w for w in row.text.split() if w in KEYWORDS
        ]


def test_evidence_drop_exceeds_random_words(trained_predict):
    rows, rng = _keyword_rows(40, seed=2, with_neutral=False), random.Random(0)
    predictions = trained_predict(rows)
    extra_drops = []
    for row, probs, attribution in zip(
        rows, predictions, attribute(rows, predictions, trained_predict), strict=True
    ):
        other_spans = [w for w in candidate_spans(row) if w not in attribution.spans]
        random_spans = rng.sample(other_spans, len(attribution.spans))
        random_probs, evidence_probs = trained_predict(
            [remove_spans(row, random_spans), remove_spans(row, attribution.spans)]
        )
        k = probs.index(max(probs))
        extra_drops.append(random_probs[k] - evidence_probs[k])
    assert sum(extra_drops) / len(extra_drops) > 0.8


def test_words_beyond_the_models_sight_are_not_searched():
    collator = make_collator(max_length=32)
    text = "The soup was great, " + "it was and is good " * 2_000
    row = AspectExample("1", text, SOUP)
    end = collator.visible_end(row)
    assert end is not None
    assert end < 200
    full = CountingPredictor(lambda r: 0.9 if "great" in r.text else 0.2)
    (attribution,) = attribute([row], full([row]), full, visible_ends=[end])
    assert [row.text[a:b] for a, b in attribution.spans] == ["great"]
    assert len(full.rows) < 50
    shorter = cut_row(row, end)
    assert len(shorter.text) < 2_000
    assert collator.visible_end(shorter) == end
    assert collator.visible_end(AspectExample("2", "The soup", SOUP)) is None


def test_cut_rows_get_the_same_answers():
    torch.manual_seed(0)
    student, collator = make_student().eval(), make_collator(max_length=32)
    rows = [
        AspectExample(str(i), "the soup was good " * n, SOUP) for i, n in enumerate((1, 30, 900))
    ]
    cut = [cut_row(r, collator.visible_end(r)) for r in rows]
    assert cut[0] is rows[0]
    assert predict_probabilities(student, collator, cut) == predict_probabilities(
        student, collator, rows
    )
    few_tokens = predict_probabilities(student, collator, rows, max_tokens=32)
    for a, b in zip(few_tokens, predict_probabilities(student, collator, rows), strict=True):
        assert a == pytest.approx(b, abs=1e-6)
