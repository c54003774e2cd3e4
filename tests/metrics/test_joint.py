"""Test joint extraction: sets within a post, and shares of at most 1."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import Pair, UndefinedMetric, metrics, pair_up
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post
from tests.metrics.extraction_pairs import NEG, NEU, POS, TEXT, extraction_pairs
from tests.metrics.opinion_pairs import compute_metrics

LIFE, SCREEN, SECOND_LIFE = ("battery life", 4), ("screen", 31), ("battery life", 53)
JOINT = metrics["joint"]()
LEGACY = metrics["joint"](legacy_sc_f=True)
SPANS = [(a, b) for a in range(0, 12, 3) for b in (a + 3, a + 6)]


def joint_metrics(gold, predicted, family=JOINT):
    return compute_metrics(family, extraction_pairs(gold, predicted))


def test_joint_by_hand():
    # Of 3 predictions one is correct, one has the wrong polarity, and one is no aspect.
    gold = [(*LIFE, NEG), (*SCREEN, POS), (*SECOND_LIFE, POS)]
    values = joint_metrics(gold, [(*LIFE, NEG), (*SCREEN, NEU), ("long", 69, POS)])
    assert values["jmasa_precision"] == pytest.approx(1 / 3)
    assert values["jmasa_recall"] == pytest.approx(1 / 3)
    assert values["mate_f1"] == pytest.approx(2 / 3)
    assert values["masc_accuracy"] == 0.5
    assert values["folded"] == 0


def random_labels(rng):
    """Draw a post's elements with at most one polarity per span, as in all data sets."""
    chosen = rng.permutation(len(SPANS))[: rng.integers(0, 5)]
    return {SPANS[i]: list(Polarity)[rng.integers(3)] for i in chosen}


def as_elements(elements):
    return [(TEXT[a:b], a, p) for (a, b), p in elements.items()]


def test_joint_matches_set_counts_and_published_sc_f():
    cases = 0
    for seed in range(1100):
        rng = numpy.random.default_rng(seed)
        posts = [(random_labels(rng), random_labels(rng)) for _ in range(rng.integers(1, 6))]
        if not any(g for g, _ in posts):
            continue
        cases += 1
        pairs = [
            pair
            for i, (g, s) in enumerate(posts)
            for pair in extraction_pairs(as_elements(g), as_elements(s), i)
        ]
        values = compute_metrics(LEGACY, pairs)
        n_correct = sum(len(g.items() & s.items()) for g, s in posts)
        n_matched = sum(len(g.keys() & s.keys()) for g, s in posts)
        n_gold, n_predicted = sum(len(g) for g, _ in posts), sum(len(s) for _, s in posts)
        assert values["jmasa_f1"] == pytest.approx(2 * n_correct / (n_gold + n_predicted))
        assert values["mate_f1"] == pytest.approx(2 * n_matched / (n_gold + n_predicted))
        assert values["mate_recall"] == pytest.approx(n_matched / n_gold)
        if n_matched:
            assert values["masc_accuracy"] == pytest.approx(n_correct / n_matched)
            assert values["legacy_sc_f"] == pytest.approx(published_sc_f(posts), abs=1e-9)
        else:
            assert numpy.isnan(values["masc_accuracy"])
    assert cases >= 1000


def published_sc_f(posts):
    """Compute the harmonic mean of macro precision and recall over matched spans."""
    matched = [(g[k], s[k]) for g, s in posts for k in g.keys() & s.keys()]
    classes = {c for pair in matched for c in pair}
    precision = recall = 0.0
    for c in classes:
        n_true = sum(g == s == c for g, s in matched)
        precision += n_true / max(1, sum(s == c for _, s in matched)) / len(classes)
        recall += n_true / max(1, sum(g == c for g, _ in matched)) / len(classes)
    return 2 * precision * recall / (precision + recall + 1e-12)


def test_legacy_sc_f_is_optional():
    assert "legacy_sc_f" not in joint_metrics([(*LIFE, NEG)], [])
    assert "VLP-MABSA" in LEGACY.specs[-1].about


def approx_nan(values):
    """Make values comparable: NaN equals NaN."""
    return pytest.approx(values, nan_ok=True)


ELEMENT = st.tuples(st.sampled_from([*SPANS, None]), st.sampled_from([*Polarity, None]))


def with_missing_offsets(elements):
    """Draw elements with and without an offset."""
    return [
        ("the bat", None, p) if span is None else (TEXT[slice(*span)], span[0], p)
        for span, p in elements
    ]


@given(st.lists(ELEMENT, min_size=1, max_size=8), st.lists(ELEMENT, max_size=8))
def test_joint_shares_are_at_most_one_in_any_order(gold, predicted):
    gold = [*with_missing_offsets(gold), (*LIFE, POS)]
    values = joint_metrics(gold, with_missing_offsets(predicted), LEGACY)
    shares = [v for name, v in values.items() if name != "folded" and not numpy.isnan(v)]
    assert all(0 <= v <= 1 for v in shares)
    assert joint_metrics(gold, with_missing_offsets(predicted)) == approx_nan(
        joint_metrics(gold[::-1], with_missing_offsets(predicted)[::-1])
    )


def test_joint_collapses_duplicates():
    values = joint_metrics([(*LIFE, NEG)], [(*LIFE, NEG)])
    assert joint_metrics([(*LIFE, NEG)] * 2, [(*LIFE, NEG)] * 3) == values
    assert values["jmasa_f1"] == values["mate_f1"] == values["masc_accuracy"] == 1


def test_joint_counts_two_polarities_of_a_span_as_two():
    values = joint_metrics([(*LIFE, NEG)], [(*LIFE, NEG), (*LIFE, POS)])
    assert (values["jmasa_precision"], values["jmasa_recall"]) == (0.5, 1.0)
    assert (values["mate_f1"], values["masc_accuracy"]) == (1.0, 0.0)


def test_unparsed_answer_is_a_matched_span_but_wrong():
    values = joint_metrics([(*LIFE, NEG)], [(*LIFE, None)])
    assert (values["jmasa_f1"], values["mate_f1"], values["masc_accuracy"]) == (0, 1, 0)


def test_joint_matches_folded_terms_and_counts_them():
    post = Post(id="1", text="the CAF\u00c9 is good")
    gold = Opinion(annotator="gold", aspect=Aspect(term="CAF\u00c9", start=4), polarity=POS)
    for term, start in (("cafe\u0301", None), ("cafe\u0301", 4)):
        prediction = Opinion(annotator="me", aspect=Aspect(term=term, start=start), polarity=POS)
        values = compute_metrics(JOINT, [Pair(post, gold, prediction, "1")])
        assert (values["jmasa_f1"], values["folded"]) == (1, 1)


def test_joint_separates_same_term_at_two_offsets():
    assert joint_metrics([(*LIFE, NEG)], [(*SECOND_LIFE, NEG)])["mate_f1"] == 0
    # Without an offset the term matches the mention with the same polarity.
    values = joint_metrics([(*LIFE, NEG), (*SECOND_LIFE, POS)], [("Battery Life", None, POS)])
    assert (values["jmasa_precision"], values["jmasa_recall"], values["folded"]) == (1, 0.5, 1)


def test_joint_matches_unlocated_terms_without_folding():
    values = joint_metrics([("price", None, NEG)], [("price", None, NEG)])
    assert (values["jmasa_f1"], values["folded"]) == (1, 0)


def test_joint_ignores_unlabelled_gold_and_its_prediction():
    labelled_pairs = extraction_pairs([(*LIFE, NEG)], [(*LIFE, NEG)])
    all_pairs = extraction_pairs([(*LIFE, NEG), (*SCREEN, None)], [(*LIFE, NEG), (*SCREEN, POS)])
    assert compute_metrics(JOINT, labelled_pairs) == compute_metrics(JOINT, all_pairs)
    assert JOINT.row_statistics(all_pairs)[:, 0].tolist() == [1, 0, 1, 0]


def test_joint_ignores_overall_aspect():
    overall_pairs = extraction_pairs([], [("", None, POS)])
    aspect_pairs = extraction_pairs([(*LIFE, NEG)], [])
    assert compute_metrics(JOINT, aspect_pairs + overall_pairs) == approx_nan(
        compute_metrics(JOINT, aspect_pairs)
    )
    with pytest.raises(UndefinedMetric, match="the reference names no aspect"):
        JOINT.row_statistics(overall_pairs)


def test_joint_is_undefined_when_aspects_were_given():
    with pytest.raises(UndefinedMetric, match="aspects were given"):
        JOINT.row_statistics(
            extraction_pairs([(*LIFE, NEG)], [(*LIFE, NEG)], aspect_source="given")
        )
    assert JOINT.row_statistics(
        extraction_pairs([(*LIFE, NEG)], [(*LIFE, NEG)], aspect_source="model")
    ).any()


def test_joint_separates_posts_by_text():
    other_post = Post(id="0", text="another " + TEXT)
    other_pair = Pair(
        other_post, None, Opinion(annotator="me", aspect=Aspect(term="a"), polarity=POS), "0"
    )
    assert (
        compute_metrics(JOINT, [*extraction_pairs([("a", None, POS)], []), other_pair])["mate_f1"]
        == 0
    )


def contradicting_pairs(*predicted, gold=(NEG,)):
    """Return the paired rows of a post whose aspect has several polarities on one side."""
    aspect = Aspect(term="battery life", start=4)
    opinions = [Opinion(annotator="gold", aspect=aspect, polarity=p) for p in gold]
    opinions += [Opinion(annotator="r", aspect=aspect, polarity=p) for p in predicted]
    return pair_up(Example(post=Post(id="1", text=TEXT), opinions=tuple(opinions)), "r")


def test_paired_contradiction_is_a_set_of_two():
    # P = {(life, negative), (life, positive)}, G = {(life, negative)}: precision 1/2, recall 1.
    values = compute_metrics(JOINT, contradicting_pairs(NEG, POS))
    assert (values["jmasa_precision"], values["jmasa_recall"]) == (0.5, 1.0)
    assert values["jmasa_f1"] == pytest.approx(2 / 3)
    assert (values["mate_f1"], values["masc_accuracy"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("predicted", "gold", "expected"),
    [
        ((NEG, POS, NEU), (NEG,), (1 / 3, 1.0)),
        ((NEG, POS, NEG), (NEG,), (0.5, 1.0)),
        ((POS, NEU), (NEG,), (0.0, 0.0)),
        ((NEG, None), (NEG,), (0.5, 1.0)),
        ((NEG,), (NEG, POS), (1.0, 0.5)),
        ((NEG, POS), (NEG, POS), (1.0, 1.0)),
    ],
)
def test_contradictions_follow_the_set_definition(predicted, gold, expected):
    values = compute_metrics(JOINT, contradicting_pairs(*predicted, gold=gold))
    assert (values["jmasa_precision"], values["jmasa_recall"]) == pytest.approx(expected)


def test_contradiction_about_a_spurious_aspect_costs_two_predictions():
    aspects = (Aspect(term="screen", start=31), Aspect(term="battery life", start=4))
    opinions = [Opinion(annotator="gold", aspect=aspects[1], polarity=NEG)]
    opinions += [Opinion(annotator="r", aspect=aspects[1], polarity=NEG)]
    opinions += [Opinion(annotator="r", aspect=aspects[0], polarity=p) for p in (POS, NEU)]
    pairs = pair_up(Example(post=Post(id="1", text=TEXT), opinions=tuple(opinions)), "r")
    assert compute_metrics(JOINT, pairs)["jmasa_precision"] == pytest.approx(1 / 3)
