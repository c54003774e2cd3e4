"""Label probabilities from the tokens of a free answer, by cases worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.backends._logprobs import Step, option_logprobs
from gen_msa.chat import Choice

CHOICE = Choice(lead="Sentiment:", options=(" negative", " neutral", " positive"), then="\n")
SCHEMA = {"properties": {"why": {}, "label": {"enum": ["negative", "neutral", "positive"]}}}
LEAD = Step(b"Sentiment:", 0.0, ())


def step(token, logprob, **others):
    top = {token: logprob, **others}
    return Step(token.encode(), logprob, tuple((t.encode(), p) for t, p in top.items()))


def scores(*steps, choice=CHOICE, schema=None):
    return option_logprobs(steps, choice, schema)


def test_whole_words_after_the_lead():
    found, note = scores(LEAD, step(" positive", -0.1, **{" negative": -2.5, " neutral": -5.0}))
    assert (found, note) == ({" negative": -2.5, " neutral": -5.0, " positive": -0.1}, "")


def test_several_spellings_of_an_option_are_added_up():
    others = {"positive": math.log(0.2), " Positive": math.log(0.1), " neg": math.log(0.1)}
    found, _ = scores(LEAD, step(" positive", math.log(0.5), **others))
    assert found[" positive"] == pytest.approx(math.log(0.8))
    assert found[" negative"] == pytest.approx(math.log(0.1))


def test_tokens_are_added_up_to_where_one_option_is_left():
    found, note = scores(
        LEAD, step(" ne", -0.5, **{" pos": -1.0}), step("ut", -0.25, g=-1.5), step("ral", -9.0)
    )
    assert found == pytest.approx({" neutral": -0.75, " negative": -2.0, " positive": -1.0})
    assert note == ""


def test_an_option_out_of_sight_gets_the_most_it_can_have_and_is_named():
    half, third = math.log(0.5), math.log(0.3)
    found, note = scores(LEAD, step(" positive", half, **{" neg": third}))
    assert found[" neutral"] == pytest.approx(math.log(0.2))
    assert note == "at most, for neutral"


def test_json_is_searched_for_the_key_that_takes_the_options_wherever_quotes_fall():
    found, _ = scores(
        step('{"why":"a \\"label\\": b","', 0.0),
        step("label", 0.0),
        step('": "po', -0.5, **{'": "neu': -1.0, '": "neg': -2.0, "x": -3.0}),
        schema=SCHEMA,
    )
    assert found == {" positive": -0.5, " neutral": -1.0, " negative": -2.0}


def test_a_blank_of_its_own_is_stepped_over():
    found, _ = scores(LEAD, step(" ", -0.1), step("neutral", -0.2, negative=-2.0, positive=-3.0))
    assert found == pytest.approx({" neutral": -0.3, " negative": -2.1, " positive": -3.1})


def test_a_likely_token_that_begins_two_options_leaves_no_figures():
    found, note = scores(LEAD, step(" positive", -0.5, **{" n": -1.0}))
    assert found is None
    assert "two labels" in note


def test_a_token_that_begins_every_option_favours_none():
    found, _ = scores(LEAD, step(" positive", -1.0, **{" ": -0.9, "\n": -2.0, " neg": -2.0}))
    assert (found[" positive"], found[" negative"]) == (-1.0, -2.0)


@pytest.mark.parametrize(
    "steps", [[], [step("no lead", 0.0)], [LEAD], [LEAD, step(" ne", -0.5, **{" pos": -1.0})]]
)
def test_without_a_whole_label_there_are_no_figures(steps):
    found, note = scores(*steps)
    assert found is None
    assert note.startswith("none: ")


def test_a_label_outside_the_set_still_shows_what_the_options_had():
    found, _ = scores(LEAD, step(" mixed", -0.1, **{" positive": -3.0, " negative": -4.0}))
    assert found[" positive"] == -3.0


def test_an_option_that_begins_another_waits_for_the_next_token():
    choice = Choice(lead="A:", options=(" pos", " positive"), then="")
    found, _ = scores(
        step("A:", 0.0), step(" pos", -0.1), step("\n", -0.2, itive=-1.8), choice=choice
    )
    assert found == pytest.approx({" pos": -0.3, " positive": -1.9})


@given(
    st.lists(
        st.tuples(
            st.text('Sentim: negposiutral"{}', max_size=6),
            st.floats(-50, 0),
            st.dictionaries(st.text(" negposiutral", max_size=4), st.floats(-50, 0), max_size=5),
        ),
        max_size=12,
    )
)
def test_no_stream_of_tokens_makes_it_raise(stream):
    steps = [LEAD] + [step(t, p, **o) for t, p, o in stream]
    for schema in (None, SCHEMA):
        found, note = scores(*steps, schema=schema)
        assert (found is None) == note.startswith("none")
        assert found is None or set(found) == set(CHOICE.options)
