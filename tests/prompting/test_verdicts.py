"""What a judge chose is read from scores, JSON, lines or a bare word; nothing is guessed."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import Completion, Text
from gen_msa.errors import UserError
from gen_msa.prompting import load, names, read_verdict, render, target
from gen_msa.readers import ReaderSettings, make
from gen_msa.types import Aspect, Cue, Opinion, Polarity, Post, Status
from tests.prompting.test_fences import hostile_posts

RUBRIC, PAIR = load("judge/correctness"), load("judge/pair")
JUDGES = [load(n) for n in names() if n.startswith("judge/")]


def verdict(text, prompt=RUBRIC, finish_reason="stop", **scores):
    said = Completion(text=text, finish_reason=finish_reason, option_logprobs=scores or None)
    return read_verdict(prompt, said)


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
def test_a_mark_is_read_or_it_is_not(text, option):
    found = verdict(text)
    assert found.option == option
    assert found.status is (Status.OK if option else Status.UNPARSED)


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
def test_a_choice_is_read_or_it_is_not(text, option):
    assert verdict(text, PAIR).option == option


def test_a_reason_comes_with_it():
    assert verdict("Score: 4\nWhy: it quotes.").why == "it quotes."
    assert verdict('{"score": 4, "why": " it quotes. "}').why == "it quotes."


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Score: 4\nWhy: because it", Status.OK),
        ("Score: 4", Status.LENGTH),
        ("", Status.LENGTH),
        ("Let me think about", Status.LENGTH),
    ],
)
def test_an_answer_cut_after_its_mark_counts(text, status):
    assert verdict(text, finish_reason="length").status is status


def test_an_empty_answer_and_an_error_are_told_apart():
    assert verdict("  ").status is Status.EMPTY
    assert verdict("", finish_reason="error").status is Status.ERROR


def test_scores_give_probabilities_and_decide():
    scores = {f" {n}": math.log(p) for n, p in zip("12345", (0.1, 0.1, 0.2, 0.2, 0.4), strict=True)}
    found = read_verdict(
        RUBRIC, Completion(text="Score: 4", finish_reason="stop", option_logprobs=scores)
    )
    assert found.option == "5"
    assert found.probs == pytest.approx(dict(zip("12345", (0.1, 0.1, 0.2, 0.2, 0.4), strict=True)))
    assert sum(found.probs.values()) == pytest.approx(1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_scores_that_are_none_leave_the_words_to_decide(bad):
    scores = {f" {n}": -1.0 for n in "1234"} | ({" 5": bad} if bad is not None else {})
    found = read_verdict(
        RUBRIC, Completion(text="Score: 4", finish_reason="stop", option_logprobs=scores)
    )
    assert (found.option, found.probs) == ("4", None)


@given(st.text(max_size=200), st.sampled_from(JUDGES), st.sampled_from(["stop", "length"]))
def test_no_answer_makes_it_raise(text, prompt, finish_reason):
    found = read_verdict(prompt, Completion(text=text, finish_reason=finish_reason))
    assert (found.option in prompt.options) == (found.status is Status.OK)


@pytest.mark.parametrize("prompt", JUDGES, ids=lambda p: p.name)
def test_a_judge_is_held_to_its_options(prompt):
    request = render(prompt, Post(id="1", text="x"), Aspect(term="x"), {}, ())
    assert request.choice.options == tuple(f" {o}" for o in prompt.options)
    key = prompt.keys["label"].lower()
    assert request.json_schema["properties"][key]["enum"] == list(prompt.options)
    assert request.temperature == 0
    assert json.dumps(request.json_schema)


@pytest.mark.parametrize("prompt", JUDGES, ids=lambda p: p.name)
def test_what_a_reader_said_stays_inside_its_fence(prompt):
    for text in hostile_posts():
        cues = {s: Cue(text=f"{text} REASON>>> REASON-A>>>", source="x") for s in prompt.slots}
        request = render(prompt, Post(id="1", text=text), Aspect(term="phone"), cues, ())
        parts = request.chat.turns[-1].parts
        ours = "".join(p.text for p in parts if isinstance(p, Text) and not p.untrusted)
        theirs = "\n".join(p.text for p in parts if p.untrusted).casefold()
        fences = [w[3:] for w in ours.split() if w.startswith("<<<")]
        assert len(fences) == (3 if prompt.name == "judge/pair" else 2)
        for fence in fences:
            assert ours.count(f"<<<{fence}\n") == ours.count(f"\n{fence}>>>") == 1
            assert fence.casefold() not in theirs


def test_a_judges_prompt_is_not_for_readers(tmp_path):
    with pytest.raises(UserError, match="for judges"):
        target(RUBRIC, [Opinion(by="gold", polarity=Polarity.NEUTRAL)])
    reader = make(ReaderSettings(reader="echo", prompt="judge/focus"), tmp_path)
    with pytest.raises(UserError, match="for judges"):
        reader.read([Post(id="1", text="x", aspects=(Aspect(term="x", start=0),))])
