"""Reading a target gives the opinion back, for every shipped prompt, order of keys and reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import Completion
from gen_msa.errors import UserError
from gen_msa.prompting import load, names, read_aspects, read_opinion, target
from gen_msa.types import WHOLE_POST, Aspect, Opinion, Polarity, Post

PROMPTS = [p for p in map(load, names()) if p.task != "judge"]
ASKED = [p for p in PROMPTS if p.task != "aspects"]
JOINT = [p for p in PROMPTS if p.task == "aspects"]
REASONED = [p for p in ASKED if "explanation" in p.keys]
POST = Post(
    id="1",
    text="Screen great, battery awful, and who needs a radio?",
    aspects=(Aspect(term="battery", start=14), Aspect(term="Screen", start=0)),
)
BATTERY = POST.aspects[0]
REASON = 'It says "battery awful".'
POLARITIES = st.sampled_from(Polarity)
PIECES = """The battery is called "awful", isn't it? 40% (of the day) — 😀 ça va 电池 very;
not good, bad. Why, negative: positive"""
WORDS = st.lists(
    st.sampled_from([*PIECES.split(), "great\n", "\t", ""]), min_size=1, max_size=20
).map(" ".join)


def named(prompts):
    return pytest.mark.parametrize("prompt", prompts, ids=lambda p: p.name)


def said(polarity, reason, aspect=BATTERY):
    return Opinion(by="gold", aspect=aspect, polarity=polarity, explanation=reason)


def one_line(text):
    return " ".join((text or "").split())


def read(prompt, text, aspect=BATTERY):
    answer = Completion(text=text, finish_reason="stop")
    return read_opinion(prompt, answer, POST, aspect, "student")


@named(ASKED)
@given(polarity=POLARITIES, reason=WORDS.filter(str.strip))
def test_reading_a_target_gives_label_and_reason_back(prompt, polarity, reason):
    answer = target(prompt, [said(polarity, reason)])
    opinion = read(prompt, answer.text)
    assert opinion.polarity is polarity
    assert answer.complete
    if "explanation" in prompt.keys:
        assert opinion.explanation == one_line(reason)


@named(ASKED)
@given(polarity=POLARITIES, reason=st.text(min_size=1, max_size=80).filter(str.strip))
def test_whatever_a_reason_holds_no_other_label_is_read(prompt, polarity, reason):
    opinion = read(prompt, target(prompt, [said(polarity, reason)]).text)
    assert opinion.polarity in (polarity, None)


@named(ASKED)
def test_the_pieces_are_the_keys_in_the_prompts_own_order(prompt):
    answer = target(prompt, [said(Polarity.NEGATIVE, REASON)])
    roles = [r for r in prompt.keys if r in ("label", "explanation")]
    lines = answer.text.split("\n")
    values = {"label": prompt.labels[Polarity.NEGATIVE], "explanation": REASON}
    assert lines == [f"{prompt.keys[r]}: {values[r]}" for r in roles]
    fields = [p.field for p in answer.pieces if p.field != "form"]
    assert fields == [r for r in roles if r != "label" or not prompt.takes_label]


@named(ASKED)
def test_a_given_label_is_form_and_any_other_is_learned(prompt):
    answer = target(prompt, [said(Polarity.POSITIVE, REASON)])
    word = prompt.labels[Polarity.POSITIVE]
    fields = {p.field for p in answer.pieces if p.text.strip() == word}
    assert fields == {"form" if prompt.takes_label else "label"}


@named(REASONED)
def test_without_a_reason_the_label_alone_is_learned_and_not_where_to_stop(prompt):
    first = next(iter(prompt.keys))
    if first != "label" or prompt.takes_label:
        with pytest.raises(UserError, match="needs a reason for 'battery'"):
            target(prompt, [said(Polarity.NEUTRAL, None)])
        return
    answer = target(prompt, [said(Polarity.NEUTRAL, " \n ")])
    assert not answer.complete
    assert answer.text == f"{prompt.keys['label']}: {prompt.labels[Polarity.NEUTRAL]}"
    assert read(prompt, answer.text).polarity is Polarity.NEUTRAL


@named(ASKED)
def test_a_label_prompt_never_wants_a_reason(prompt):
    answer = target(prompt, [said(Polarity.NEUTRAL, REASON)])
    assert answer.complete
    assert (REASON in answer.text) == ("explanation" in prompt.keys)


TERMS = st.lists(
    st.sampled_from(["battery", "Screen", "radio", "great", "who"]), unique=True, max_size=4
)


@named(JOINT)
@given(terms=TERMS, data=st.data())
def test_reading_a_joint_target_gives_every_aspect_back(prompt, terms, data):
    opinions = [
        said(
            data.draw(POLARITIES),
            data.draw(st.none() | WORDS),
            Aspect(term=term, start=POST.text.index(term)),
        )
        for term in terms
    ]
    answer = target(prompt, opinions)
    assert answer.complete
    assert isinstance(json.loads(answer.text)["aspects"], list)
    found = read_aspects(prompt, Completion(text=answer.text, finish_reason="stop"), POST, "me")
    if not opinions:
        assert [(o.aspect, o.polarity) for o in found] == [(WHOLE_POST, None)]
        return
    reasons = [one_line(o.explanation) if "explanation" in prompt.keys else "" for o in opinions]
    assert [(o.aspect, o.polarity) for o in found] == [(o.aspect, o.polarity) for o in opinions]
    assert [o.explanation or "" for o in found] == reasons


@named(JOINT)
@given(reason=st.text(max_size=60), term=st.text(min_size=1, max_size=20))
def test_a_joint_target_is_json_whatever_stands_in_it(prompt, reason, term):
    answer = target(prompt, [said(Polarity.POSITIVE, reason, Aspect(term=term))])
    (row,) = json.loads(answer.text)["aspects"]
    assert row[prompt.keys["aspect"].lower()] == term
    assert row[prompt.keys["label"].lower()] == prompt.labels[Polarity.POSITIVE]
    fields = [p.field for p in answer.pieces if p.field != "form"]
    assert fields[:2] == ["aspect", "label"]


def test_an_opinion_without_a_polarity_cannot_be_learned():
    with pytest.raises(UserError, match="gold gives no polarity for 'battery'"):
        target(load("reader/full"), [said(None, REASON)])


def test_a_prompt_about_one_aspect_takes_one_opinion():
    two = [said(Polarity.POSITIVE, REASON), said(Polarity.NEGATIVE, REASON, POST.aspects[1])]
    with pytest.raises(UserError, match="answers about one aspect, not 2"):
        target(load("reader/full"), two)


def test_the_reason_may_come_first():
    prompt = load("reader/reason_first")
    answer = target(prompt, [said(Polarity.NEGATIVE, REASON)])
    assert answer.text == f"Why: {REASON}\nSentiment: negative"
    assert read(prompt, answer.text).explanation == REASON
