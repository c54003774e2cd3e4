"""Test that predictions are joined with the reference by offset, then by term, without loss."""

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import pair_up
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post, Status

TEXT = "Great screen, awful battery and a screen protector"
SCREEN, BATTERY = Aspect(term="screen", start=6), Aspect(term="battery", start=20)


def make_example(*opinions):
    return Example(post=Post(id="1", text=TEXT), opinions=opinions)


def make_opinion(annotator, term, polarity, start=None):
    return Opinion(annotator=annotator, aspect=Aspect(term=term, start=start), polarity=polarity)


def test_pair_up_lists_gold_rows_then_spurious_predictions():
    pairs = pair_up(
        make_example(
            make_opinion("gold", "screen", "positive", 6),
            make_opinion("gold", "battery", "negative", 20),
            make_opinion("r", "battery", "negative", 20),
            make_opinion("r", "protector", "neutral", 41),
        ),
        "r",
    )
    assert [(p.label, p.predicted_label) for p in pairs] == [
        (Polarity.POSITIVE, None),
        (Polarity.NEGATIVE, Polarity.NEGATIVE),
        (None, Polarity.NEUTRAL),
    ]
    assert {p.cluster for p in pairs} == {"1"}


def test_pair_up_matches_unlocated_aspect_to_only_candidate():
    (pair,) = pair_up(
        make_example(
            make_opinion("gold", "screen", "positive", 6), make_opinion("r", "SCREEN", "neutral")
        ),
        "r",
    )
    assert pair.predicted_label == "neutral"


def test_pair_up_does_not_guess_between_two_candidates():
    gold = (
        make_opinion("gold", "screen", "positive", 6),
        make_opinion("gold", "screen", "neutral", 34),
    )
    pairs = pair_up(make_example(*gold, make_opinion("r", "screen", "neutral")), "r")
    assert [(p.gold is not None, p.prediction is not None) for p in pairs] == [
        (True, False),
        (True, False),
        (False, True),
    ]


def test_pair_up_separates_same_term_at_two_offsets():
    pairs = pair_up(
        make_example(
            make_opinion("gold", "screen", "positive", 6),
            make_opinion("r", "screen", "positive", 34),
        ),
        "r",
    )
    assert [p.predicted_label for p in pairs] == [None, "positive"]


def test_pair_up_treats_contradiction_as_unparsed():
    predictions = (
        make_opinion("r", "screen", "positive", 6),
        make_opinion("r", "screen", "negative", 6),
    )
    (pair,) = pair_up(
        make_example(make_opinion("gold", "screen", "positive", 6), *predictions), "r"
    )
    assert pair.predicted_label is None
    assert pair.prediction.status is Status.UNPARSED
    assert pair.prediction.raw == "positive / negative"


def test_pair_up_collapses_duplicate_predictions():
    predictions = (make_opinion("r", "screen", "positive", 6),) * 2
    pairs = pair_up(make_example(make_opinion("gold", "screen", "positive", 6), *predictions), "r")
    assert [p.predicted_label for p in pairs] == ["positive"]


def test_pair_up_drops_contradictory_gold_label():
    gold = (
        make_opinion("gold", "screen", "positive", 6),
        make_opinion("gold", "screen", "negative", 6),
    )
    (pair,) = pair_up(make_example(*gold, make_opinion("r", "screen", "positive", 6)), "r")
    assert pair.label is None
    assert pair.predicted_label == "positive"


ASPECTS = st.sampled_from(
    [SCREEN, BATTERY, Aspect(term="screen", start=34), Aspect(term="Screen"), Aspect(term="")]
)
OPINIONS = st.lists(
    st.builds(
        Opinion,
        annotator=st.sampled_from(["gold", "r"]),
        aspect=ASPECTS,
        polarity=st.sampled_from([None, *Polarity]),
    ),
    max_size=8,
)


@given(OPINIONS)
def test_pair_up_puts_every_aspect_in_one_row(opinions):
    pairs = pair_up(make_example(*opinions), "r")
    for field, annotator in (("gold", "gold"), ("prediction", "r")):
        aspects = [o.aspect for p in pairs if (o := getattr(p, field))]
        assert sorted(map(str, aspects)) == sorted(
            {str(o.aspect) for o in opinions if o.annotator == annotator}
        )


def test_pair_up_names_all_conflicting_labels():
    predictions = (make_opinion("r", "screen", p, 6) for p in ("positive", "negative", "neutral"))
    (pair,) = pair_up(
        make_example(make_opinion("gold", "screen", "positive", 6), *predictions), "r"
    )
    assert pair.predicted_label is None
    assert pair.prediction.provenance["conflict"] == "positive and negative and neutral"
    assert pair.prediction.raw == "positive / negative / neutral"


def test_pair_up_is_fast_for_thousands_of_unlocated_aspects():
    terms = [f"Thing {i}" for i in range(3000)]
    gold = [make_opinion("gold", t, "positive") for t in terms]
    predictions = [make_opinion("r", t.upper(), "positive") for t in terms]
    assert all(p.predicted_label for p in pair_up(make_example(*gold, *predictions), "r"))
