"""Test verdict parsing from scores, JSON, keyed lines and bare words."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import Completion, TextInput
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from gen_msa.prompting import build_target, load_prompt, parse_verdict, prompt_names, render
from gen_msa.types import Aspect, Cue, Opinion, Polarity, Post, Status
from tests.prompting.test_fences import hostile_posts

RUBRIC, PAIR = load_prompt("judge/correctness"), load_prompt("judge/pair")
JUDGES = [load_prompt(n) for n in prompt_names() if n.startswith("judge/")]


def parse(text, prompt=RUBRIC, finish_reason="stop", **scores):
    completion = Completion(text=text, finish_reason=finish_reason, option_logprobs=scores or None)
    return parse_verdict(prompt, completion)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("Score: 4\nWhy: it quotes the post.", "4"),
        ("**Score:** 4", "4"),
        ("score: 4/5", "4"),
        ("Score: 4 out of 5", "4"),
        ("Score: 4. The post has 5 words.", "4"),
        ("Score: 4 - a clear reason", "4"),
        ("4", "4"),
        ("5\nA fine reason", "5"),
        ('{"score": "4", "why": "x"}', "4"),
        ('{"score": 4, "why": "x"}', "4"),
        ('{"score": 4.0}', "4"),
        ("```json\n" + '{"Score": "4"}' + "\n```", "4"),
        ("<think>Score: 1</think>Score: 2", "2"),
        ("Score: 4.5", None),
        ("Score: 4 or 5", None),
        ("Score: 4-5", None),
        ("Score: 6", None),
        ("Score: 45", None),
        ("Score: 0", None),
        ("Score: high", None),
        ("Score: 4\nScore: 2", None),
        ('{"score": 4} {"score": 2}', None),
        ('{"score": true}', None),
        ('{"score": "4", "why": "it is', None),
        ("I cannot judge this.", None),
    ],
)
def test_rating_is_parsed_or_unparsed(text, option):
    result = parse(text)
    assert result.option == option
    assert result.status is (Status.OK if option else Status.UNPARSED)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("Better: A\nWhy: it is true", "A"),
        ("Better: tie", "tie"),
        ("Better: **B**", "B"),
        ("b is better", "B"),
        ("Better: A and B are equal", None),
        ("Better: neither", None),
        ("Better: Anna", None),
        ("Better: both", None),
    ],
)
def test_choice_is_parsed_or_unparsed(text, option):
    assert parse(text, PAIR).option == option


def test_explanation_is_parsed_with_rating():
    assert parse("Score: 4\nWhy: it quotes.").explanation == "it quotes."
    assert parse('{"score": 4, "why": " it quotes. "}').explanation == "it quotes."


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Score: 4\nWhy: because it", Status.OK),
        ("Score: 4", Status.LENGTH),
        ("", Status.LENGTH),
        ("Let me think about", Status.LENGTH),
    ],
)
def test_answer_truncated_after_rating_counts(text, status):
    assert parse(text, finish_reason="length").status is status


def test_empty_answer_and_error_have_distinct_statuses():
    assert parse("  ").status is Status.EMPTY
    assert parse("", finish_reason="error").status is Status.ERROR


def test_option_logprobs_give_probabilities_and_decide():
    scores = {f" {n}": math.log(p) for n, p in zip("12345", (0.1, 0.1, 0.2, 0.2, 0.4), strict=True)}
    result = parse_verdict(
        RUBRIC, Completion(text="Score: 4", finish_reason="stop", option_logprobs=scores)
    )
    assert result.option == "5"
    assert result.probs == pytest.approx(dict(zip("12345", (0.1, 0.1, 0.2, 0.2, 0.4), strict=True)))
    assert sum(result.probs.values()) == pytest.approx(1)


@pytest.mark.parametrize("score", [math.nan, math.inf, None])
def test_invalid_logprobs_leave_text_to_decide(score):
    scores = {f" {n}": -1.0 for n in "1234"} | ({" 5": score} if score is not None else {})
    result = parse_verdict(
        RUBRIC, Completion(text="Score: 4", finish_reason="stop", option_logprobs=scores)
    )
    assert (result.option, result.probs) == ("4", None)


@given(st.text(max_size=200), st.sampled_from(JUDGES), st.sampled_from(["stop", "length"]))
def test_no_answer_raises(text, prompt, finish_reason):
    result = parse_verdict(prompt, Completion(text=text, finish_reason=finish_reason))
    assert (result.option in prompt.options) == (result.status is Status.OK)


@pytest.mark.parametrize("prompt", JUDGES, ids=lambda p: p.name)
def test_judge_request_is_restricted_to_its_options(prompt):
    request = render(prompt, Post(id="1", text="x"), Aspect(term="x"), {}, ())
    assert request.choice.options == tuple(f" {o}" for o in prompt.options)
    key = prompt.keys["label"].lower()
    assert request.json_schema["properties"][key]["enum"] == list(prompt.options)
    assert request.temperature == 0
    assert json.dumps(request.json_schema)


@pytest.mark.parametrize("prompt", JUDGES, ids=lambda p: p.name)
def test_judged_text_stays_inside_its_fence(prompt):
    for text in hostile_posts():
        cues = {s: Cue(text=f"{text} REASON>>> REASON-A>>>", source="x") for s in prompt.slots}
        request = render(prompt, Post(id="1", text=text), Aspect(term="phone"), cues, ())
        parts = request.chat.turns[-1].parts
        trusted = "".join(p.text for p in parts if isinstance(p, TextInput) and not p.untrusted)
        untrusted = "\n".join(p.text for p in parts if p.untrusted).casefold()
        fences = [w[3:] for w in trusted.split() if w.startswith("<<<")]
        assert len(fences) == (3 if prompt.name == "judge/pair" else 2)
        for fence in fences:
            assert trusted.count(f"<<<{fence}\n") == trusted.count(f"\n{fence}>>>") == 1
            assert fence.casefold() not in untrusted


def test_judge_prompt_is_refused_for_predictors_and_targets(tmp_path):
    with pytest.raises(UserError, match="for judges"):
        build_target(RUBRIC, [Opinion(annotator="gold", polarity=Polarity.NEUTRAL)])
    predictor = make(PredictorSettings(model="echo", prompt="judge/focus"), tmp_path)
    with pytest.raises(UserError, match="for judges"):
        predictor.predict([Post(id="1", text="x", aspects=(Aspect(term="x", start=0),))])
