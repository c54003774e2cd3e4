"""Gold and answers are joined by place, then by words; nothing is dropped, nothing counts twice."""

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import pair_up
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post, Status

TEXT = "Great screen, awful battery and a screen protector"
SCREEN, BATTERY = Aspect(term="screen", start=6), Aspect(term="battery", start=20)


def example(*opinions):
    return Example(post=Post(id="1", text=TEXT), opinions=opinions)


def says(by, term, polarity, start=None):
    return Opinion(by=by, aspect=Aspect(term=term, start=start), polarity=polarity)


def test_each_gold_opinion_is_a_row_and_what_was_said_besides_comes_after():
    pairs = pair_up(
        example(
            says("gold", "screen", "positive", 6),
            says("gold", "battery", "negative", 20),
            says("r", "battery", "negative", 20),
            says("r", "protector", "neutral", 41),
        ),
        "r",
    )
    assert [(p.truth, p.answer) for p in pairs] == [
        (Polarity.POSITIVE, None),
        (Polarity.NEGATIVE, Polarity.NEGATIVE),
        (None, Polarity.NEUTRAL),
    ]
    assert {p.cluster for p in pairs} == {"1"}


def test_an_aspect_without_a_place_joins_the_only_one_of_its_words():
    (pair,) = pair_up(
        example(says("gold", "screen", "positive", 6), says("r", "SCREEN", "neutral")), "r"
    )
    assert pair.answer == "neutral"


def test_an_aspect_without_a_place_joins_neither_of_two():
    gold = (says("gold", "screen", "positive", 6), says("gold", "screen", "neutral", 34))
    pairs = pair_up(example(*gold, says("r", "screen", "neutral")), "r")
    assert [(p.gold is not None, p.said is not None) for p in pairs] == [
        (True, False),
        (True, False),
        (False, True),
    ]


def test_two_places_of_the_same_word_are_two_aspects():
    pairs = pair_up(
        example(says("gold", "screen", "positive", 6), says("r", "screen", "positive", 34)), "r"
    )
    assert [p.answer for p in pairs] == [None, "positive"]


def test_a_reader_that_contradicts_itself_has_said_nothing():
    said = (says("r", "screen", "positive", 6), says("r", "screen", "negative", 6))
    (pair,) = pair_up(example(says("gold", "screen", "positive", 6), *said), "r")
    assert pair.answer is None
    assert pair.said.status is Status.UNPARSED
    assert pair.said.raw == "positive / negative"


def test_the_same_said_twice_counts_once():
    said = (says("r", "screen", "positive", 6),) * 2
    pairs = pair_up(example(says("gold", "screen", "positive", 6), *said), "r")
    assert [p.answer for p in pairs] == ["positive"]


def test_gold_that_contradicts_itself_decides_nothing():
    gold = (says("gold", "screen", "positive", 6), says("gold", "screen", "negative", 6))
    (pair,) = pair_up(example(*gold, says("r", "screen", "positive", 6)), "r")
    assert pair.truth is None
    assert pair.answer == "positive"


ASPECTS = st.sampled_from(
    [SCREEN, BATTERY, Aspect(term="screen", start=34), Aspect(term="Screen"), Aspect(term="")]
)
OPINIONS = st.lists(
    st.builds(
        Opinion,
        by=st.sampled_from(["gold", "r"]),
        aspect=ASPECTS,
        polarity=st.sampled_from([None, *Polarity]),
    ),
    max_size=8,
)


@given(OPINIONS)
def test_every_aspect_of_either_side_stands_in_exactly_one_row(opinions):
    pairs = pair_up(example(*opinions), "r")
    for side, by in (("gold", "gold"), ("said", "r")):
        stood = [o.aspect for p in pairs if (o := getattr(p, side))]
        assert sorted(map(str, stood)) == sorted({str(o.aspect) for o in opinions if o.by == by})


def test_three_answers_to_one_aspect_are_all_named():
    said = (says("r", "screen", p, 6) for p in ("positive", "negative", "neutral"))
    (pair,) = pair_up(example(says("gold", "screen", "positive", 6), *said), "r")
    assert pair.answer is None
    assert pair.said.how["conflict"] == "positive and negative and neutral"
    assert pair.said.raw == "positive / negative / neutral"


def test_a_post_of_thousands_of_unplaced_aspects_is_joined_at_once():
    terms = [f"Thing {i}" for i in range(3000)]
    gold = [says("gold", t, "positive") for t in terms]
    said = [says("r", t.upper(), "positive") for t in terms]
    assert all(p.answer for p in pair_up(example(*gold, *said), "r"))
