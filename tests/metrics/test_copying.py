"""Test copying from post and prompt: hand-made cases, brute force, shuffled explanations."""

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._pairs import shuffle_explanations
from gen_msa.metrics.copying import longest_copied_run
from tests.metrics.explanation_pairs import (
    compute_metrics,
    pair,
    pair_without_prediction,
    tiny_pairs,
)

TEXT = "The battery gives up before lunch, every single day"
PROMPT = f"The goalkeeper is praised here.\n<<<POST\n{TEXT}\nPOST>>>\nWhat of the battery?"


def test_copying_by_hand():
    explanation = "It gives up before lunch: the goalkeeper is praised here"
    values = compute_metrics(
        "copying", [pair(TEXT, "battery", explanation, extra_inputs={"prompt": PROMPT})]
    )
    # 10 words have 7 4-grams: one of the post, two of the prompt alone.
    assert values == {
        "post": pytest.approx(1 / 7),
        "post_longest": 4,
        "prompt": pytest.approx(2 / 7),
        "prompt_longest": 5,
    }


def test_copying_credits_shared_run_to_the_post():
    extra_inputs = {"prompt": f"{PROMPT} Hint: gives up before lunch"}
    values = compute_metrics(
        "copying", [pair(TEXT, "battery", "gives up before lunch", extra_inputs=extra_inputs)]
    )
    assert values == {"post": 1, "post_longest": 4, "prompt": 0, "prompt_longest": 0}


def test_copied_run_does_not_cross_the_post_slot():
    values = compute_metrics(
        "copying", [pair(TEXT, "", "praised here post", extra_inputs={"prompt": PROMPT})]
    )
    assert values["prompt_longest"] == 3
    extra_inputs = {"prompt": f"one two {TEXT} three four"}
    values = compute_metrics(
        "copying", [pair(TEXT, "", "one two three four", extra_inputs=extra_inputs)]
    )
    assert (values["prompt"], values["prompt_longest"]) == (0, 2)


def test_copying_without_prompt_counts_post_only():
    rows = [
        pair(TEXT, "battery", "every single day", post="1"),
        pair(TEXT, "battery", "What of the", post="2", extra_inputs={"prompt": PROMPT}),
        pair_without_prediction(),
    ]
    values = compute_metrics("copying", rows)
    assert (values["post_longest"], values["prompt_longest"]) == (2, 3)
    assert isnan(values["post"])
    assert isnan(compute_metrics("copying", rows[:1])["prompt"])


@given(*[st.lists(st.sampled_from("abc"), max_size=12)] * 3)
def test_longest_copied_run_matches_brute_force(explanation, source, other_source):
    def occurs(run, text):
        return any(text[i : i + len(run)] == run for i in range(len(text)))

    runs = [
        explanation[i:j]
        for i in range(len(explanation))
        for j in range(i + 1, len(explanation) + 1)
    ]
    expected = max(
        (len(r) for r in runs if occurs(r, source) and not occurs(r, other_source)), default=0
    )
    padded = [f" {' '.join(text)} " for text in (source, other_source)]
    assert longest_copied_run(explanation, *padded) == expected


def test_shuffled_explanations_copy_little():
    pairs = tiny_pairs()
    before, after = (
        compute_metrics("copying", pairs),
        compute_metrics("copying", shuffle_explanations(pairs, 0)),
    )
    assert before["post"] > 0.05
    assert after["post"] < 0.01
    assert after["post_longest"] < before["post_longest"] / 2


def test_copying_is_undefined_without_explanations():
    with pytest.raises(UndefinedMetric, match="no row"):
        metrics["copying"]().row_statistics([pair_without_prediction()])
