"""Test that parsing a training target gives the opinion back, for every packaged prompt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import Completion
from gen_msa.errors import UserError
from gen_msa.prompting import build_target, load_prompt, parse_aspects, parse_opinion, prompt_names
from gen_msa.types import OVERALL_ASPECT, Aspect, Opinion, Polarity, Post

PROMPTS = [p for p in map(load_prompt, prompt_names()) if p.task != "judge"]
SINGLE = [p for p in PROMPTS if p.task != "aspects"]
JOINT = [p for p in PROMPTS if p.task == "aspects"]
EXPLAINED = [p for p in SINGLE if "explanation" in p.keys]
POST = Post(
    id="1",
    text="Screen great, battery awful, and who needs a radio?",
    aspects=(Aspect(term="battery", start=14), Aspect(term="Screen", start=0)),
)
BATTERY = POST.aspects[0]
EXPLANATION = 'It says "battery awful".'
POLARITIES = st.sampled_from(Polarity)
VOCABULARY = """The battery is called "awful", isn't it? 40% (of the day) — 😀 ça va 电池 very;
not good, bad. Why, negative: positive"""
EXPLANATIONS = st.lists(
    st.sampled_from([*VOCABULARY.split(), "great\n", "\t", ""]), min_size=1, max_size=20
).map(" ".join)


def for_each_prompt(prompts):
    return pytest.mark.parametrize("prompt", prompts, ids=lambda p: p.name)


def gold_opinion(polarity, explanation, aspect=BATTERY):
    return Opinion(annotator="gold", aspect=aspect, polarity=polarity, explanation=explanation)


def one_line(text):
    return " ".join((text or "").split())


def parse(prompt, text, aspect=BATTERY):
    answer = Completion(text=text, finish_reason="stop")
    return parse_opinion(prompt, answer, POST, aspect, "student")


@for_each_prompt(SINGLE)
@given(polarity=POLARITIES, explanation=EXPLANATIONS.filter(str.strip))
def test_target_parses_back_to_label_and_explanation(prompt, polarity, explanation):
    answer = build_target(prompt, [gold_opinion(polarity, explanation)])
    opinion = parse(prompt, answer.text)
    assert opinion.polarity is polarity
    assert answer.complete
    if "explanation" in prompt.keys:
        assert opinion.explanation == one_line(explanation)


@for_each_prompt(SINGLE)
@given(polarity=POLARITIES, explanation=st.text(min_size=1, max_size=80).filter(str.strip))
def test_explanation_text_never_changes_label(prompt, polarity, explanation):
    opinion = parse(prompt, build_target(prompt, [gold_opinion(polarity, explanation)]).text)
    assert opinion.polarity in (polarity, None)


@for_each_prompt(SINGLE)
def test_segments_follow_key_order_of_prompt(prompt):
    answer = build_target(prompt, [gold_opinion(Polarity.NEGATIVE, EXPLANATION)])
    roles = [r for r in prompt.keys if r in ("label", "explanation")]
    lines = answer.text.split("\n")
    values = {"label": prompt.labels[Polarity.NEGATIVE], "explanation": EXPLANATION}
    assert lines == [f"{prompt.keys[r]}: {values[r]}" for r in roles]
    fields = [p.field for p in answer.segments if p.field != "form"]
    assert fields == [r for r in roles if r != "label" or not prompt.takes_label]


@for_each_prompt(SINGLE)
def test_given_label_is_form_segment_and_others_are_label_segments(prompt):
    answer = build_target(prompt, [gold_opinion(Polarity.POSITIVE, EXPLANATION)])
    word = prompt.labels[Polarity.POSITIVE]
    fields = {p.field for p in answer.segments if p.text.strip() == word}
    assert fields == {"form" if prompt.takes_label else "label"}


@for_each_prompt(EXPLAINED)
def test_missing_explanation_trains_label_only_without_end_token(prompt):
    first = next(iter(prompt.keys))
    if first != "label" or prompt.takes_label:
        with pytest.raises(UserError, match="needs an explanation for 'battery'"):
            build_target(prompt, [gold_opinion(Polarity.NEUTRAL, None)])
        return
    answer = build_target(prompt, [gold_opinion(Polarity.NEUTRAL, " \n ")])
    assert not answer.complete
    assert answer.text == f"{prompt.keys['label']}: {prompt.labels[Polarity.NEUTRAL]}"
    assert parse(prompt, answer.text).polarity is Polarity.NEUTRAL


@for_each_prompt(SINGLE)
def test_label_prompt_needs_no_explanation(prompt):
    answer = build_target(prompt, [gold_opinion(Polarity.NEUTRAL, EXPLANATION)])
    assert answer.complete
    assert (EXPLANATION in answer.text) == ("explanation" in prompt.keys)


TERMS = st.lists(
    st.sampled_from(["battery", "Screen", "radio", "great", "who"]), unique=True, max_size=4
)


@for_each_prompt(JOINT)
@given(terms=TERMS, data=st.data())
def test_joint_target_parses_back_to_every_aspect(prompt, terms, data):
    opinions = [
        gold_opinion(
            data.draw(POLARITIES),
            data.draw(st.none() | EXPLANATIONS),
            Aspect(term=term, start=POST.text.index(term)),
        )
        for term in terms
    ]
    answer = build_target(prompt, opinions)
    assert answer.complete
    assert isinstance(json.loads(answer.text)["aspects"], list)
    parsed = parse_aspects(prompt, Completion(text=answer.text, finish_reason="stop"), POST, "me")
    if not opinions:
        assert [(o.aspect, o.polarity) for o in parsed] == [(OVERALL_ASPECT, None)]
        return
    explanations = [
        one_line(o.explanation) if "explanation" in prompt.keys else "" for o in opinions
    ]
    assert [(o.aspect, o.polarity) for o in parsed] == [(o.aspect, o.polarity) for o in opinions]
    assert [o.explanation or "" for o in parsed] == explanations


@for_each_prompt(JOINT)
@given(explanation=st.text(max_size=60), term=st.text(min_size=1, max_size=20))
def test_joint_target_is_valid_json(prompt, explanation, term):
    answer = build_target(prompt, [gold_opinion(Polarity.POSITIVE, explanation, Aspect(term=term))])
    (row,) = json.loads(answer.text)["aspects"]
    assert row[prompt.keys["aspect"].lower()] == term
    assert row[prompt.keys["label"].lower()] == prompt.labels[Polarity.POSITIVE]
    fields = [p.field for p in answer.segments if p.field != "form"]
    assert fields[:2] == ["aspect", "label"]


def test_opinion_without_polarity_raises():
    with pytest.raises(UserError, match="gold gives no polarity for 'battery'"):
        build_target(load_prompt("predict/full"), [gold_opinion(None, EXPLANATION)])


def test_single_aspect_prompt_refuses_two_opinions():
    opinions = [
        gold_opinion(Polarity.POSITIVE, EXPLANATION),
        gold_opinion(Polarity.NEGATIVE, EXPLANATION, POST.aspects[1]),
    ]
    with pytest.raises(UserError, match="answers about one aspect, not 2"):
        build_target(load_prompt("predict/full"), opinions)


def test_explanation_may_come_first():
    prompt = load_prompt("predict/reason_first")
    answer = build_target(prompt, [gold_opinion(Polarity.NEGATIVE, EXPLANATION)])
    assert answer.text == f"Why: {EXPLANATION}\nSentiment: negative"
    assert parse(prompt, answer.text).explanation == EXPLANATION
