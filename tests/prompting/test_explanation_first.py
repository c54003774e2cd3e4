"""Test prompts whose `keys` put the explanation before the label."""

import pytest

from gen_msa.chat import Completion
from gen_msa.prompting import build_target, load_prompt, parse_opinion, render
from gen_msa.types import Aspect, Evidence, Opinion, Polarity, Post, Status

POST = Post(id="1", text="Screen is great but the battery is awful")
BATTERY = Aspect(term="battery", start=24)
GOLD = Opinion(
    annotator="gold",
    aspect=BATTERY,
    polarity=Polarity.NEGATIVE,
    explanation='"awful" is a complaint about the battery.',
)


@pytest.mark.parametrize("name", ["predict/brief", "predict/reason_first"])
def test_training_target_parses_back_to_same_opinion(name):
    prompt = load_prompt(name)
    answer = Completion(text=build_target(prompt, [GOLD]).text, finish_reason="stop")
    opinion = parse_opinion(prompt, answer, POST, BATTERY, annotator="me")
    assert (opinion.polarity, opinion.explanation) == (GOLD.polarity, GOLD.explanation)
    assert opinion.evidence == (Evidence(quote="awful", start=35),)


def test_label_in_last_place_has_no_slot_and_is_last_in_schema():
    label_first, label_last = (
        render(load_prompt(name), POST, BATTERY, {}, ())
        for name in ("predict/brief", "predict/reason_first")
    )
    assert label_first.choice is not None
    assert label_first.choice.prefix == "Sentiment:"
    assert label_last.choice is None
    assert list(label_first.json_schema["required"]) == ["sentiment", "why"]
    assert list(label_last.json_schema["required"]) == ["why", "sentiment"]


def test_truncated_explanation_before_label_gives_no_label():
    prompt = load_prompt("predict/reason_first")
    truncated = Completion(text='Why: "awful" is a', finish_reason="length")
    opinion = parse_opinion(prompt, truncated, POST, BATTERY, annotator="me")
    assert (opinion.polarity, opinion.status) == (None, Status.LENGTH)
