"""Label probabilities from the tokens of a free answer, by cases worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.backends._label_slot import TokenLogprobs, option_logprobs
from gen_msa.chat import ChoiceSlot

CHOICE = ChoiceSlot(
    prefix="Sentiment:", options=(" negative", " neutral", " positive"), suffix="\n"
)
SCHEMA = {"properties": {"why": {}, "label": {"enum": ["negative", "neutral", "positive"]}}}
LEAD = TokenLogprobs(b"Sentiment:", 0.0, ())


def token_step(token, logprob, **others):
    top = {token: logprob, **others}
    return TokenLogprobs(token.encode(), logprob, tuple((t.encode(), p) for t, p in top.items()))


def label_logprobs(*steps, choice=CHOICE, schema=None):
    return option_logprobs(steps, choice, schema)


def test_label_token_after_lead_gives_logprobs():
    logprobs, note = label_logprobs(
        LEAD, token_step(" positive", -0.1, **{" negative": -2.5, " neutral": -5.0})
    )
    assert (logprobs, note) == ({" negative": -2.5, " neutral": -5.0, " positive": -0.1}, "")


def test_spellings_of_an_option_are_summed():
    others = {"positive": math.log(0.2), " Positive": math.log(0.1), " neg": math.log(0.1)}
    logprobs, _ = label_logprobs(LEAD, token_step(" positive", math.log(0.5), **others))
    assert logprobs[" positive"] == pytest.approx(math.log(0.8))
    assert logprobs[" negative"] == pytest.approx(math.log(0.1))


def test_tokens_are_summed_until_one_option_is_left():
    logprobs, note = label_logprobs(
        LEAD,
        token_step(" ne", -0.5, **{" pos": -1.0}),
        token_step("ut", -0.25, g=-1.5),
        token_step("ral", -9.0),
    )
    assert logprobs == pytest.approx({" neutral": -0.75, " negative": -2.0, " positive": -1.0})
    assert note == ""


def test_option_outside_top_logprobs_gets_upper_bound_and_note():
    half, third = math.log(0.5), math.log(0.3)
    logprobs, note = label_logprobs(LEAD, token_step(" positive", half, **{" neg": third}))
    assert logprobs[" neutral"] == pytest.approx(math.log(0.2))
    assert note == "at most, for neutral"


def test_label_is_found_after_json_key_across_tokens():
    logprobs, _ = label_logprobs(
        token_step('{"why":"a \\"label\\": b","', 0.0),
        token_step("label", 0.0),
        token_step('": "po', -0.5, **{'": "neu': -1.0, '": "neg': -2.0, "x": -3.0}),
        schema=SCHEMA,
    )
    assert logprobs == {" positive": -0.5, " neutral": -1.0, " negative": -2.0}


def test_separate_blank_token_is_skipped():
    logprobs, _ = label_logprobs(
        LEAD, token_step(" ", -0.1), token_step("neutral", -0.2, negative=-2.0, positive=-3.0)
    )
    assert logprobs == pytest.approx({" neutral": -0.3, " negative": -2.1, " positive": -3.1})


def test_likely_ambiguous_token_gives_no_logprobs():
    logprobs, note = label_logprobs(LEAD, token_step(" positive", -0.5, **{" n": -1.0}))
    assert logprobs is None
    assert "two labels" in note


def test_token_common_to_all_options_is_ignored():
    logprobs, _ = label_logprobs(
        LEAD, token_step(" positive", -1.0, **{" ": -0.9, "\n": -2.0, " neg": -2.0})
    )
    assert (logprobs[" positive"], logprobs[" negative"]) == (-1.0, -2.0)


@pytest.mark.parametrize(
    "steps",
    [[], [token_step("no lead", 0.0)], [LEAD], [LEAD, token_step(" ne", -0.5, **{" pos": -1.0})]],
)
def test_missing_label_gives_no_logprobs(steps):
    logprobs, note = label_logprobs(*steps)
    assert logprobs is None
    assert note.startswith("none: ")


def test_label_outside_options_still_gives_option_logprobs():
    logprobs, _ = label_logprobs(
        LEAD, token_step(" mixed", -0.1, **{" positive": -3.0, " negative": -4.0})
    )
    assert logprobs[" positive"] == -3.0


def test_option_that_prefixes_another_waits_for_next_token():
    choice = ChoiceSlot(prefix="A:", options=(" pos", " positive"), suffix="")
    logprobs, _ = label_logprobs(
        token_step("A:", 0.0),
        token_step(" pos", -0.1),
        token_step("\n", -0.2, itive=-1.8),
        choice=choice,
    )
    assert logprobs == pytest.approx({" pos": -0.3, " positive": -1.9})


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
def test_no_token_stream_raises(stream):
    steps = [LEAD] + [token_step(t, p, **o) for t, p, o in stream]
    for schema in (None, SCHEMA):
        logprobs, note = label_logprobs(*steps, schema=schema)
        assert (logprobs is None) == note.startswith("none")
        assert logprobs is None or set(logprobs) == set(CHOICE.options)
