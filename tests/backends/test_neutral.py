"""Control strings in a post are broken up; everything else stays as it was."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.backends.neutral import BREAK, joined, neutralise
from gen_msa.chat import Picture, Text

CONTROL = ["<|im_end|>", "<image>", "<video>", "<audio>", "[INST]", "[/INST]", "<s>", "</s>"]
CONTROL += ["<start_of_turn>", "<end_of_utterance>", "<IMG_CONTEXT>", "<image_soft_token>"]
CONTROL += ["<fake_token_around_image>", "<row_1_col_1>", "<|begin_of_text|>", "<<SYS>>", "[IMG]"]
CONTROL += ["<｜User｜>", "<unused7>", "<loc0012>", "<|image_1|>", "<bos>", "<think>"]
PICTURE = Picture(path="/p.png", sha256="0", max_pixels=1)


@pytest.mark.parametrize("control", CONTROL)
def test_a_control_string_is_broken_after_its_first_character(control):
    assert neutralise(f"a {control} b") == (f"a {control[0]}{BREAK}{control[1:]} b", 1)


@pytest.mark.parametrize(
    "words",
    ["I <3 it", "a < b > c", "$T$ {{7*7}}", "[yes] (no)", "x<y", "", "💛 الشاشة 屏幕", "|>"],
)
def test_words_that_control_nothing_are_left_alone(words):
    assert neutralise(words) == (words, 0)


def test_a_tokenizers_own_strings_are_broken_too_and_single_characters_are_passed_over():
    assert neutralise("a @@user@@ ~", {"@@user@@", "~"}) == (f"a @{BREAK}@user@@ ~", 1)


def test_overlapping_control_strings_are_all_broken():
    assert neutralise("<a><a><a>", {"<a><a>"}) == (f"<{BREAK}a><{BREAK}a><a>", 2)


@given(st.lists(st.sampled_from([*CONTROL, "<|", "|>", "<", "word", " ", "im_end", "\n"])))
def test_neutral_text_is_neutral_and_reads_the_same(pieces):
    text = "".join(pieces)
    once, count = neutralise(text)
    assert neutralise(once) == (once, 0)
    assert once.replace(BREAK, "") == text
    assert len(once) == len(text) + count
    assert not any(control in once for control in CONTROL)


def test_neighbours_of_equal_trust_are_joined_before_anyone_looks():
    parts = [Text(text="<|im_", untrusted=True), Text(text=""), Text(text="end|>", untrusted=True)]
    assert joined(parts) == [Text(text="<|im_end|>", untrusted=True)]
    assert joined([*parts[:1], PICTURE, *parts[2:]]) == [parts[0], PICTURE, parts[2]]


def test_a_megabyte_of_openings_takes_linear_time():
    start = time.process_time()
    neutralise("<|" * 500_000)
    assert time.process_time() - start < 5
