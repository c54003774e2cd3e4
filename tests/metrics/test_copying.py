"""Runs of words taken from the post and from the prompt: by hand, by brute force, shuffled."""

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._permuting import permuted
from gen_msa.metrics.copying import longest
from tests.metrics.explaining import figures, pair, shipped, silent

TEXT = "The battery gives up before lunch, every single day"
PROMPT = f"The goalkeeper is praised here.\n<<<POST\n{TEXT}\nPOST>>>\nWhat of the battery?"


def test_a_case_by_hand():
    said = "It gives up before lunch: the goalkeeper is praised here"
    found = figures("copying", [pair(TEXT, "battery", said, shown={"prompt": PROMPT})])
    # 10 words have 7 4-grams: one of the post, two of the prompt's own words.
    assert found == {
        "post": pytest.approx(1 / 7),
        "post_longest": 4,
        "prompt": pytest.approx(2 / 7),
        "prompt_longest": 5,
    }


def test_what_stands_in_both_is_the_posts():
    shown = {"prompt": f"{PROMPT} Hint: gives up before lunch"}
    found = figures("copying", [pair(TEXT, "battery", "gives up before lunch", shown=shown)])
    assert found == {"post": 1, "post_longest": 4, "prompt": 0, "prompt_longest": 0}


def test_no_run_goes_across_the_place_of_the_post():
    found = figures("copying", [pair(TEXT, "", "praised here post", shown={"prompt": PROMPT})])
    assert found["prompt_longest"] == 3
    shown = {"prompt": f"one two {TEXT} three four"}
    found = figures("copying", [pair(TEXT, "", "one two three four", shown=shown)])
    assert (found["prompt"], found["prompt_longest"]) == (0, 2)


def test_rows_without_a_prompt_count_for_the_post_only():
    rows = [
        pair(TEXT, "battery", "every single day", post="1"),
        pair(TEXT, "battery", "What of the", post="2", shown={"prompt": PROMPT}),
        silent(),
    ]
    found = figures("copying", rows)
    assert (found["post_longest"], found["prompt_longest"]) == (2, 3)
    assert isnan(found["post"])
    assert isnan(figures("copying", rows[:1])["prompt"])


@given(*[st.lists(st.sampled_from("abc"), max_size=12)] * 3)
def test_the_longest_run_is_that_of_brute_force(said, source, beside):
    def lies(run, text):
        return any(text[i : i + len(run)] == run for i in range(len(text)))

    runs = [said[i:j] for i in range(len(said)) for j in range(i + 1, len(said) + 1)]
    best = max((len(r) for r in runs if lies(r, source) and not lies(r, beside)), default=0)
    lines = [f" {' '.join(text)} " for text in (source, beside)]
    assert longest(said, *lines) == best


def test_shuffled_explanations_copy_nothing():
    pairs = shipped()
    before, after = figures("copying", pairs), figures("copying", permuted(pairs, 0))
    assert before["post"] > 0.05
    assert after["post"] < 0.01
    assert after["post_longest"] < before["post_longest"] / 2


def test_no_explanation_at_all_is_said():
    with pytest.raises(Undefined, match="no row"):
        metrics["copying"]().rows([silent()])
