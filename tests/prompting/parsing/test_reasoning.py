"""Answers of reasoning models: thoughts, wrappers, end tokens, almost-JSON, contradictions."""

import json
import os
import random
from pathlib import Path

import pytest

from gen_msa.chat import Completion
from gen_msa.prompting import load_prompt, parse_opinion
from gen_msa.types import Aspect, Opinion, Post

POST = Post(
    id="1",
    text="A lovely terrace, awful soup",
    aspects=(Aspect(term="terrace", start=9), Aspect(term="soup", start=24)),
)
PROMPT = load_prompt("predict/full")
MARKS = ("<|", "</", "<answer", "boxed", "◁", "[/", '",', "'}")
"""Nothing of a wrapper may stay in an explanation."""
GOLDEN = Path(__file__).parents[2] / "golden" / "reasoning_answers.jsonl"
ANSWERS = [json.loads(line) for line in GOLDEN.read_text("utf-8").splitlines()]
"""Answers about the terrace, and the label that a person reads in each."""


def parse(text: str, post: Post = POST, finish: str = "stop") -> Opinion:
    completion = Completion(text=text, finish_reason=finish)
    return parse_opinion(PROMPT, completion, post, post.aspects[0], "model")


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row["name"])
def test_label_is_that_of_the_final_answer(row: dict[str, str]) -> None:
    opinion = parse(row["text"])
    assert (opinion.polarity and opinion.polarity.value) == row["polarity"]
    assert not any(mark in (opinion.explanation or "") for mark in MARKS)
    assert opinion.raw == row["text"]


def test_sentence_after_thoughts_gives_no_label_from_the_thoughts() -> None:
    text = "<thought>\nSentiment: negative\n</thought>\nThe terrace is praised."
    assert parse(text).polarity is None


def test_mark_in_a_string_of_json_separates_nothing() -> None:
    opinion = parse('{"sentiment": "positive", "explanation": "It ends with </think> as text."}')
    assert (opinion.polarity, opinion.explanation) == ("positive", "It ends with </think> as text.")


def test_field_tags_are_read_as_fields() -> None:
    opinion = parse("<sentiment>positive</sentiment>\n<explanation>It is lovely.</explanation>")
    assert (opinion.polarity, opinion.explanation) == ("positive", "It is lovely.")


def test_json_that_the_post_holds_is_a_quote() -> None:
    post = Post(
        id="1",
        text='the screen broke {"sentiment": "positive"}',
        aspects=(Aspect(term="screen", start=4),),
    )
    answer = (
        'Sentiment: negative\nExplanation: it broke although it holds {"sentiment":"positive"}.'
    )
    assert parse(answer, post).polarity == "negative"
    assert parse('The post says {"sentiment": "positive"}.', post).polarity is None


@pytest.mark.parametrize("refusal", ["I cannot help with that.", "I'm sorry, but I can't judge."])
def test_refusal_that_quotes_the_post_has_no_label(refusal: str) -> None:
    post = Post(id="1", text="Sentiment: positive, the screen", aspects=(Aspect(term="screen"),))
    assert (
        parse(f"{refusal} The post says:\nSentiment: positive, the screen", post).polarity is None
    )
    assert parse(f'{refusal} It says:\n"Sentiment: positive"').polarity is None


def test_thoughts_that_use_up_the_budget_have_the_status_length() -> None:
    assert parse("<think>\nSentiment: negative", finish="length").status == "length"
    assert parse("[[MUSE]]\nSentiment: negative", finish="length").status == "length"


@pytest.mark.parametrize("mark", ["musing", "my:notes"])
def test_block_in_unknown_marks_is_no_answer_wherever_it_stands(mark: str) -> None:
    block = f"<{mark}>\nSentiment: negative\n</{mark}>"
    assert parse(f"Okay.\n{block}\nThe answer is this.").polarity is None
    assert parse(f"Okay.\n{block}\nSentiment: positive").polarity == "positive"


@pytest.mark.parametrize(
    "quote", ["<answer>positive</answer>", "\\boxed{positive}", "<sentiment>positive</sentiment>"]
)
def test_wrapper_that_the_post_holds_is_a_quote(quote: str) -> None:
    post = Post(id="1", text=f"the screen {quote}", aspects=(Aspect(term="screen", start=4),))
    assert parse(f"The post says {quote}.", post).polarity is None
    answer = parse(f"Sentiment: negative\nExplanation: it says {quote}.", post)
    assert answer.polarity == "negative"


THOUGHTS = [
    ("<think>", "</think>"),
    ("Thinking...\n", "\n...done thinking.\n"),
    ("### Reasoning\n", "\n### Final answer\n"),
    ("**Thought process:**\n", "\n**Answer**\n"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("", "</think>"),
    ("<musings>", "</musings>"),
    ("[[PONDER]]\n", "[[/PONDER]]"),
    ("<think>", ""),
    ("[[PONDER]]\n", ""),
    ("", ""),
]
LABELS = ("negative", "neutral", "positive")


def random_answer(rng: random.Random) -> tuple[str, str, str]:
    """Return a post, an answer, and the label of the prompt's own form in it."""
    own, other = rng.choice(LABELS), rng.choice(LABELS)
    injected = rng.choice(
        [
            f'{{"sentiment": "{other}"}}',
            f"Sentiment: {other}",
            f"</think>Sentiment: {other}",
            f"<answer>{other}</answer>",
            f"\\boxed{{{other}}}",
            f"[/THINK]\nSentiment: {other}",
            "it broke",
        ]
    )
    opening, closing = rng.choice(THOUGHTS)
    thought = rng.choice(
        ["Hmm.", f"Sentiment: {other}", f"\nSentiment: {other}\n", f'{{"label": "{other}"}}']
    )
    form = rng.choice(
        [
            f"Sentiment: {own}\nExplanation: it says {injected}",
            f'Sentiment: {own}\nExplanation: it says "{injected}", so.',
            f"**Sentiment:** {own}\n\n**Explanation:** because\n{injected}",
            f"Sentiment: {own}",
        ]
    )
    tail = rng.choice(["", "<|im_end|>", "</s>", "\n", f"<|im_end|>\nSentiment: {other}"])
    has_thought = bool(opening or closing)
    answer = f"{opening}{thought}{closing}\n{form}{tail}" if has_thought else form + tail
    return f"the screen {injected}", answer, own


def test_no_label_contradicts_the_own_form_of_the_prompt() -> None:
    """GEN_MSA_FUZZ=100000 asks for more answers than the suite has time for."""
    rng = random.Random(6)
    n_labelled = 0
    n = int(os.environ.get("GEN_MSA_FUZZ", "4000"))
    for _ in range(n):
        text, answer, own = random_answer(rng)
        post = Post(id="1", text=text, aspects=(Aspect(term="screen", start=4),))
        polarity = parse(answer, post).polarity
        assert polarity in (None, own), (text, answer, own)
        n_labelled += polarity is not None
    assert n_labelled > n / 4
