"""From answers to opinions: the golden file, cut answers, noise, probabilities, provenance."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import Completion
from gen_msa.prompting import load, read_aspects, read_opinion
from gen_msa.prompting.answers import MAX_CHARS
from gen_msa.prompting.answers._labels import TABLE, label_of
from gen_msa.types import WHOLE_POST, Aspect, Evidence, Opinion, Polarity, Post, Status

GOLDEN = Path(__file__).parents[1] / "golden" / "answers.jsonl"
ROWS = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
FULL, LABEL, JOINT = load("reader/full"), load("reader/label"), load("reader/aspects")
POST = Post(id="1", text="Screen great, battery awful", aspects=(Aspect(term="battery", start=14),))
BATTERY = POST.aspects[0]
SCORES = {" negative": -0.1, " neutral": -3.0, " positive": -4.0}


def read(text, finish="stop", prompt=FULL, **more):
    said = Completion(text=text, finish_reason=finish, **more)
    return read_opinion(prompt, said, POST, BATTERY, "me")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ascii(row["text"])[:40])
def test_every_golden_answer_is_read_as_written(row):
    opinion = read(row["text"], row["finish"], option_logprobs=row.get("scores"))
    assert (opinion.polarity, opinion.status) == (row["polarity"], row["status"])


def test_the_golden_file_is_large_and_has_every_outcome():
    assert len(ROWS) >= 400
    assert len({json.dumps(row) for row in ROWS}) == len(ROWS)
    said = Counter((row["polarity"], row["status"]) for row in ROWS)
    assert {p for p, _ in said} == {None, *Polarity}
    assert {s for _, s in said} == {"ok", "unparsed", "empty", "length", "error"}
    assert said[None, "unparsed"] >= 100


def cut_answers():
    """300 answers that never came to their end: 200 cut at the limit, 100 of blanks or nothing."""
    rng = random.Random(20)
    whole = [
        'Sentiment: {}\nExplanation: The post calls the battery "awful" and leaves no doubt.',
        '{{"sentiment": "{}", "explanation": "The word \\"awful\\" decides.", "evidence": []}}',
        'Let me see. The battery is called awful.\n\nSentiment: {}\nExplanation: "awful".',
        "<think>The screen is positive, the battery negative.</think>\nSentiment: {}",
    ]
    for _ in range(200):
        text = rng.choice(whole).format(rng.choice(list(Polarity)))
        yield text[: rng.randint(3, len(text))], "length", Status.LENGTH
    for _ in range(100):
        blanks = "".join(rng.choice(" \n\t\u3000\u200b") for _ in range(rng.randint(0, 400)))
        yield (
            rng.choice(["", "{", "```json\n"]) + blanks,
            rng.choice(["stop", "length"]),
            Status.EMPTY,
        )


def test_300_cut_or_blank_answers_are_wrong_and_not_parsed():
    outcomes = Counter()
    for text, finish, status in cut_answers():
        opinion = read(text, finish)
        outcomes[opinion.polarity is None and opinion.status is status and opinion.raw == text] += 1
    assert outcomes == {True: 300}


def test_10_000_answers_of_noise_are_read_without_an_exception():
    rng = random.Random(0)
    bits = (
        [row["text"] for row in ROWS]
        + list("{}[]\"'\\:\n \t*#`<>|\ufffd\u202e\0é中😀")
        + list(TABLE)
    )
    bits += [
        '{"aspects": [',
        '{"aspect": "battery", ',
        "Aspect: battery\n",
        "Explanation:",
        '"sentiment"',
    ]
    for _ in range(10_000):
        text = "".join(rng.choice(bits) for _ in range(rng.randint(1, 6)))
        at = rng.randrange(len(text) + 1)
        text = text[:at] + chr(rng.choice([0, 34, 92, 0x1F600, 0x301, 0xFDD0])) + text[at:]
        opinion = read(text, rng.choice(["stop", "length"]))
        assert (opinion.polarity is None) == (opinion.status is not Status.OK)
        for joint in read_aspects(JOINT, Completion(text=text, finish_reason="stop"), POST, "me"):
            assert Opinion.model_validate_json(joint.model_dump_json()) == joint


@given(st.text(max_size=300), st.sampled_from(["stop", "length", "error"]))
def test_any_answer_makes_a_valid_opinion_with_its_words_kept(text, finish):
    opinion = read(text, finish)
    assert opinion.raw == (text or (None if finish == "error" else ""))
    assert Opinion.model_validate_json(opinion.model_dump_json()) == opinion


@given(
    st.sampled_from(sorted(TABLE)),
    st.sampled_from(["not ", "isn't ", "nicht ", "no ", "pas ", "不", "غير ", "hardly "]),
)
def test_a_word_of_the_table_names_its_label_until_something_denies_it(word, denial):
    assert label_of(word.upper() if word.isascii() else word, {}) is TABLE[word]
    if denial.strip():
        assert label_of(denial + word, {}) is None


def test_the_prompts_own_words_come_before_the_table():
    own = {"A": Polarity.NEGATIVE, "B": Polarity.NEUTRAL, "good": Polarity.POSITIVE}
    assert label_of("A", own) is Polarity.NEGATIVE
    assert label_of("b.", own) is Polarity.NEUTRAL
    assert label_of("Good!", own) is Polarity.POSITIVE
    assert label_of("negative", own) is Polarity.NEGATIVE
    assert label_of("A, good", own) is None


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
def test_the_explanation_is_found_in_every_form(text, form, explanation):
    opinion = read(text)
    assert opinion.polarity is Polarity.NEGATIVE
    assert (opinion.how["form"], opinion.explanation) == (form, explanation)
    assert opinion.how.get("explanation") == (None if explanation else "missing")


def test_scores_of_the_slot_become_probabilities():
    opinion = read("Sentiment: negative\nExplanation: bad", option_logprobs=SCORES)
    total = sum(math.exp(s) for s in SCORES.values())
    assert opinion.how["form"] == "slot"
    assert opinion.how["probability"] == "label words"
    assert opinion.probs == pytest.approx({p: math.exp(SCORES[f" {p}"]) / total for p in Polarity})
    assert opinion.probability == max(opinion.probs.values())


def test_a_slot_whose_reason_was_cut_keeps_its_label_and_says_so():
    opinion = read("Sentiment: negative\nExplanation: The ba", "length", option_logprobs=SCORES)
    assert (opinion.polarity, opinion.status) == (Polarity.NEGATIVE, Status.OK)
    assert opinion.how["explanation"] == "cut"
    unscored = read("Sentiment: negative\nExplanation: The ba", "length", notes={"form": "slot"})
    assert (unscored.polarity, unscored.status, unscored.probs) == (Polarity.NEGATIVE, "ok", None)
    free = read("Sentiment: negative\nExplanation: The ba", "length")
    assert (free.polarity, free.status) == (None, Status.LENGTH)


@pytest.mark.parametrize(
    ("scores", "polarity", "says"),
    [
        ({" negative": -math.inf, " neutral": -1.0, " positive": -2.0}, "neutral", "label words"),
        ({" negative": math.nan, " neutral": -1.0, " positive": -2.0}, "positive", "not a number"),
        (dict.fromkeys(SCORES, -math.inf), "positive", "name no label"),
        ({" good": -1.0}, "positive", "name no label"),
        ({" negative": -1e4, " neutral": -2e4, " positive": -3e4}, "negative", "label words"),
    ],
)
def test_odd_scores_are_used_only_when_they_mean_something(scores, polarity, says):
    opinion = read("Sentiment: positive", option_logprobs=scores)
    assert opinion.polarity == polarity
    assert says in opinion.how["probability"]


def test_a_given_label_has_no_probability():
    said = Completion(
        text="Sentiment: positive\nExplanation: x",
        finish_reason="stop",
        option_logprobs={" positive": -2.0},
    )
    opinion = read_opinion(load("reader/explain"), said, POST, BATTERY, "teacher")
    assert (opinion.polarity, opinion.probs) == (Polarity.POSITIVE, None)


def test_an_error_is_kept_with_its_reason():
    opinion = read("", "error", error="429 too many requests")
    assert (opinion.status, opinion.raw) == (Status.ERROR, None)
    assert opinion.how["error"] == "429 too many requests"
    [joint] = read_aspects(JOINT, Completion(text="", finish_reason="error"), POST, "me")
    assert (joint.status, joint.how["error"]) == (Status.ERROR, "the backend gave no reason")


def test_an_opinion_says_who_was_asked_what_about_which_aspect():
    opinion = read("Sentiment: negative", prompt=LABEL)
    assert (opinion.by, opinion.aspect) == ("me", BATTERY)
    assert opinion.how == {"prompt": LABEL.identity, "form": "lines"}
    overall = Completion(text="Sentiment: neutral", finish_reason="stop")
    assert read_opinion(load("reader/overall"), overall, POST, None, "me").aspect == WHOLE_POST


def test_an_endless_answer_is_read_in_part_and_says_so():
    text = "Sentiment: negative\nExplanation: " + "bad " * MAX_CHARS
    opinion = read(text)
    assert opinion.polarity is Polarity.NEGATIVE
    assert opinion.how["read"] == f"the first {MAX_CHARS} of {len(text)} characters"
    assert opinion.raw == text


def test_evidence_comes_from_the_list_and_from_the_quotes():
    opinion = read(
        '{"sentiment": "negative", "explanation": "\\"AWFUL\\" it is", "evidence": ["dim"]}'
    )
    assert opinion.evidence == (Evidence(quote="dim"), Evidence(quote="awful", start=22))
