"""Test opinion parsing: golden answers, cut answers, noise, probabilities and provenance."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import Completion
from gen_msa.prompting import load_prompt, parse_aspects, parse_opinion
from gen_msa.prompting.parsing._cascade import LABEL_TABLE, parse_label
from gen_msa.prompting.parsing.opinions import MAX_CHARS
from gen_msa.types import OVERALL_ASPECT, Aspect, Evidence, Opinion, Polarity, Post, Status

GOLDEN = Path(__file__).parents[2] / "golden" / "answers.jsonl"
ROWS = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
FULL, LABEL, JOINT = (
    load_prompt("predict/full"),
    load_prompt("predict/label"),
    load_prompt("predict/aspects"),
)
POST = Post(id="1", text="Screen great, battery awful", aspects=(Aspect(term="battery", start=14),))
BATTERY = POST.aspects[0]
SCORES = {" negative": -0.1, " neutral": -3.0, " positive": -4.0}


def parse(text, finish="stop", prompt=FULL, **options):
    completion = Completion(text=text, finish_reason=finish, **options)
    return parse_opinion(prompt, completion, POST, BATTERY, "me")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ascii(row["text"])[:40])
def test_golden_answer_is_parsed_as_expected(row):
    opinion = parse(row["text"], row["finish"], option_logprobs=row.get("scores"))
    assert (opinion.polarity, opinion.status) == (row["polarity"], row["status"])


def test_golden_file_is_large_and_has_every_outcome():
    assert len(ROWS) >= 400
    assert len({json.dumps(row) for row in ROWS}) == len(ROWS)
    counts = Counter((row["polarity"], row["status"]) for row in ROWS)
    assert {p for p, _ in counts} == {None, *Polarity}
    assert {s for _, s in counts} == {"ok", "unparsed", "empty", "length", "error"}
    assert counts[None, "unparsed"] >= 100


def cut_answers():
    """Yield 300 incomplete answers: 200 cut at the token limit, 100 blank or empty."""
    rng = random.Random(20)
    templates = [
        'Sentiment: {}\nExplanation: The post calls the battery "awful" and leaves no doubt.',
        '{{"sentiment": "{}", "explanation": "The word \\"awful\\" decides.", "evidence": []}}',
        'Let me see. The battery is called awful.\n\nSentiment: {}\nExplanation: "awful".',
        "<think>The screen is positive, the battery negative.</think>\nSentiment: {}",
    ]
    for _ in range(200):
        text = rng.choice(templates).format(rng.choice(list(Polarity)))
        yield text[: rng.randint(3, len(text))], "length", Status.LENGTH
    for _ in range(100):
        blanks = "".join(rng.choice(" \n\t\u3000\u200b") for _ in range(rng.randint(0, 400)))
        yield (
            rng.choice(["", "{", "```json\n"]) + blanks,
            rng.choice(["stop", "length"]),
            Status.EMPTY,
        )


def test_truncated_or_blank_answers_are_not_parsed():
    outcomes = Counter()
    for text, finish, status in cut_answers():
        opinion = parse(text, finish)
        outcomes[opinion.polarity is None and opinion.status is status and opinion.raw == text] += 1
    assert outcomes == {True: 300}


def test_noise_answers_do_not_raise():
    rng = random.Random(0)
    fragments = (
        [row["text"] for row in ROWS]
        + list("{}[]\"'\\:\n \t*#`<>|\ufffd\u202e\0é中😀")
        + list(LABEL_TABLE)
    )
    fragments += [
        '{"aspects": [',
        '{"aspect": "battery", ',
        "Aspect: battery\n",
        "Explanation:",
        '"sentiment"',
    ]
    for _ in range(10_000):
        text = "".join(rng.choice(fragments) for _ in range(rng.randint(1, 6)))
        position = rng.randrange(len(text) + 1)
        text = (
            text[:position] + chr(rng.choice([0, 34, 92, 0x1F600, 0x301, 0xFDD0])) + text[position:]
        )
        opinion = parse(text, rng.choice(["stop", "length"]))
        assert (opinion.polarity is None) == (opinion.status is not Status.OK)
        for joint in parse_aspects(JOINT, Completion(text=text, finish_reason="stop"), POST, "me"):
            assert Opinion.model_validate_json(joint.model_dump_json()) == joint


@given(st.text(max_size=300), st.sampled_from(["stop", "length", "error"]))
def test_any_answer_gives_valid_opinion_with_raw_text(text, finish):
    opinion = parse(text, finish)
    assert opinion.raw == (text or (None if finish == "error" else ""))
    assert Opinion.model_validate_json(opinion.model_dump_json()) == opinion


@given(
    st.sampled_from(sorted(LABEL_TABLE)),
    st.sampled_from(["not ", "isn't ", "nicht ", "no ", "pas ", "不", "غير ", "hardly "]),
)
def test_label_word_is_parsed_unless_negated(word, denial):
    assert parse_label(word.upper() if word.isascii() else word, {}) is LABEL_TABLE[word]
    if denial.strip():
        assert parse_label(denial + word, {}) is None


def test_label_words_of_prompt_take_precedence_over_table():
    label_words = {"A": Polarity.NEGATIVE, "B": Polarity.NEUTRAL, "good": Polarity.POSITIVE}
    assert parse_label("A", label_words) is Polarity.NEGATIVE
    assert parse_label("b.", label_words) is Polarity.NEUTRAL
    assert parse_label("Good!", label_words) is Polarity.POSITIVE
    assert parse_label("negative", label_words) is Polarity.NEGATIVE
    assert parse_label("A, good", label_words) is None


@pytest.mark.parametrize(
    ("text", "form", "explanation"),
    [
        ("Sentiment: negative\nExplanation: It is bad.", "lines", "It is bad."),
        ("Sentiment: negative. Explanation: It is bad.", "lines", "It is bad."),
        ("Explanation: It is bad.\nSentiment: negative", "lines", "It is bad."),
        ("**Sentiment:** negative\n**Explanation:** It\nis bad.", "lines", "It\nis bad."),
        ('{"sentiment": "negative", "explanation": " It is bad. "}', "json", "It is bad."),
        ('{"polarity": "negative", "reason": "It is bad."}', "json", "It is bad."),
        ("negative\nIt is bad.", "bare", "It is bad."),
        ("negative", "bare", None),
        ('{"sentiment": "negative", "explanation": 7}', "json", None),
    ],
)
def test_explanation_is_found_in_every_answer_form(text, form, explanation):
    opinion = parse(text)
    assert opinion.polarity is Polarity.NEGATIVE
    assert (opinion.provenance["form"], opinion.explanation) == (form, explanation)
    assert opinion.provenance.get("explanation") == (None if explanation else "missing")


def test_label_logprobs_become_probabilities():
    opinion = parse("Sentiment: negative\nExplanation: bad", option_logprobs=SCORES)
    total = sum(math.exp(s) for s in SCORES.values())
    assert opinion.provenance["form"] == "slot"
    assert opinion.provenance["probability"] == "label words"
    assert opinion.probs == pytest.approx({p: math.exp(SCORES[f" {p}"]) / total for p in Polarity})
    assert opinion.probability == max(opinion.probs.values())


def test_label_in_slot_survives_truncated_explanation():
    opinion = parse("Sentiment: negative\nExplanation: The ba", "length", option_logprobs=SCORES)
    assert (opinion.polarity, opinion.status) == (Polarity.NEGATIVE, Status.OK)
    assert opinion.provenance["explanation"] == "cut"
    unscored = parse("Sentiment: negative\nExplanation: The ba", "length", notes={"form": "slot"})
    assert (unscored.polarity, unscored.status, unscored.probs) == (Polarity.NEGATIVE, "ok", None)
    free = parse("Sentiment: negative\nExplanation: The ba", "length")
    assert (free.polarity, free.status) == (None, Status.LENGTH)


@pytest.mark.parametrize(
    ("scores", "polarity", "message"),
    [
        ({" negative": -math.inf, " neutral": -1.0, " positive": -2.0}, "neutral", "label words"),
        ({" negative": math.nan, " neutral": -1.0, " positive": -2.0}, "positive", "not a number"),
        (dict.fromkeys(SCORES, -math.inf), "positive", "name no label"),
        ({" good": -1.0}, "positive", "name no label"),
        ({" negative": -1e4, " neutral": -2e4, " positive": -3e4}, "negative", "label words"),
    ],
)
def test_label_logprobs_are_used_only_when_valid(scores, polarity, message):
    opinion = parse("Sentiment: positive", option_logprobs=scores)
    assert opinion.polarity == polarity
    assert message in opinion.provenance["probability"]


def test_given_label_has_no_probability():
    completion = Completion(
        text="Sentiment: positive\nExplanation: x",
        finish_reason="stop",
        option_logprobs={" positive": -2.0},
    )
    opinion = parse_opinion(load_prompt("predict/explain"), completion, POST, BATTERY, "teacher")
    assert (opinion.polarity, opinion.probs) == (Polarity.POSITIVE, None)


def test_backend_error_gives_error_status_and_message():
    opinion = parse("", "error", error="429 too many requests")
    assert (opinion.status, opinion.raw) == (Status.ERROR, None)
    assert opinion.provenance["error"] == "429 too many requests"
    [joint] = parse_aspects(JOINT, Completion(text="", finish_reason="error"), POST, "me")
    assert (joint.status, joint.provenance["error"]) == (
        Status.ERROR,
        "the backend gave no error message",
    )


def test_opinion_records_annotator_prompt_and_aspect():
    opinion = parse("Sentiment: negative", prompt=LABEL)
    assert (opinion.annotator, opinion.aspect) == ("me", BATTERY)
    assert opinion.provenance == {"prompt": LABEL.identity, "form": "lines"}
    overall = Completion(text="Sentiment: neutral", finish_reason="stop")
    assert (
        parse_opinion(load_prompt("predict/overall"), overall, POST, None, "me").aspect
        == OVERALL_ASPECT
    )


def test_oversized_answer_is_parsed_in_part_and_noted():
    text = "Sentiment: negative\nExplanation: " + "bad " * MAX_CHARS
    opinion = parse(text)
    assert opinion.polarity is Polarity.NEGATIVE
    assert opinion.provenance["truncated"] == f"the first {MAX_CHARS} of {len(text)} characters"
    assert opinion.raw == text


def test_evidence_comes_from_list_and_from_quotes():
    opinion = parse(
        '{"sentiment": "negative", "explanation": "\\"AWFUL\\" it is", "evidence": ["dim"]}'
    )
    assert opinion.evidence == (Evidence(quote="awful", start=22),)
    assert opinion.provenance["invented_quotes"] == "1"
