"""The order of `keys` is the order of the answer, and an answer reads the same in either order."""

import pytest

from gen_msa.chat import Completion
from gen_msa.prompting import load, read_opinion, render, target
from gen_msa.types import Aspect, Evidence, Opinion, Polarity, Post, Status

POST = Post(id="1", text="Screen is great but the battery is awful")
BATTERY = Aspect(term="battery", start=24)
SAID = Opinion(
    by="gold",
    aspect=BATTERY,
    polarity=Polarity.NEGATIVE,
    explanation='"awful" is a complaint about the battery.',
)


@pytest.mark.parametrize("name", ["reader/brief", "reader/reason_first"])
def test_what_is_learned_reads_back_as_the_same_opinion(name):
    prompt = load(name)
    answer = Completion(text=target(prompt, [SAID]).text, finish_reason="stop")
    found = read_opinion(prompt, answer, POST, BATTERY, by="me")
    assert (found.polarity, found.explanation) == (SAID.polarity, SAID.explanation)
    assert found.evidence == (Evidence(quote="awful", start=35),)


def test_a_label_that_comes_last_has_no_slot_and_stands_last_in_the_schema():
    first, last = (
        render(load(name), POST, BATTERY, {}, ())
        for name in ("reader/brief", "reader/reason_first")
    )
    assert first.choice is not None
    assert first.choice.lead == "Sentiment:"
    assert last.choice is None
    assert list(first.json_schema["required"]) == ["sentiment", "why"]
    assert list(last.json_schema["required"]) == ["why", "sentiment"]


def test_a_reason_that_ran_out_before_the_label_has_no_label():
    prompt = load("reader/reason_first")
    cut = Completion(text='Why: "awful" is a', finish_reason="length")
    found = read_opinion(prompt, cut, POST, BATTERY, by="me")
    assert (found.polarity, found.status) == (None, Status.LENGTH)
