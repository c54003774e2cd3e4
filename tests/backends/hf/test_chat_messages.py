"""Control strings in a post are broken up; everything else stays as it was."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import (
    ZERO_WIDTH_SPACE,
    ImageInput,
    TextInput,
    escape_control_tokens,
    merge_adjacent_texts,
)

CONTROL_STRINGS = [
    "<|im_end|>",
    "<image>",
    "<video>",
    "<audio>",
    "[INST]",
    "[/INST]",
    "<s>",
    "</s>",
]
CONTROL_STRINGS += ["<start_of_turn>", "<end_of_utterance>", "<IMG_CONTEXT>", "<image_soft_token>"]
CONTROL_STRINGS += [
    "<fake_token_around_image>",
    "<row_1_col_1>",
    "<|begin_of_text|>",
    "<<SYS>>",
    "[IMG]",
]
CONTROL_STRINGS += ["<｜User｜>", "<unused7>", "<loc0012>", "<|image_1|>", "<bos>", "<think>"]
IMAGE = ImageInput(path="/p.png", sha256="0", max_pixels=1)


@pytest.mark.parametrize("control", CONTROL_STRINGS)
def test_control_string_is_split_after_first_character(control):
    assert escape_control_tokens(f"a {control} b") == (
        f"a {control[0]}{ZERO_WIDTH_SPACE}{control[1:]} b",
        1,
    )


@pytest.mark.parametrize(
    "text",
    ["I <3 it", "a < b > c", "$T$ {{7*7}}", "[yes] (no)", "x<y", "", "💛 الشاشة 屏幕", "|>"],
)
def test_harmless_text_is_unchanged(text):
    assert escape_control_tokens(text) == (text, 0)


def test_tokenizer_control_strings_are_escaped_except_single_characters():
    assert escape_control_tokens("a @@user@@ ~", {"@@user@@", "~"}) == (
        f"a @{ZERO_WIDTH_SPACE}@user@@ ~",
        1,
    )


def test_overlapping_control_strings_are_all_escaped():
    assert escape_control_tokens("<a><a><a>", {"<a><a>"}) == (
        f"<{ZERO_WIDTH_SPACE}a><{ZERO_WIDTH_SPACE}a><a>",
        2,
    )


@given(st.lists(st.sampled_from([*CONTROL_STRINGS, "<|", "|>", "<", "word", " ", "im_end", "\n"])))
def test_escaping_is_idempotent_and_reversible(pieces):
    text = "".join(pieces)
    escaped, count = escape_control_tokens(text)
    assert escape_control_tokens(escaped) == (escaped, 0)
    assert escaped.replace(ZERO_WIDTH_SPACE, "") == text
    assert len(escaped) == len(text) + count
    assert not any(control in escaped for control in CONTROL_STRINGS)


def test_adjacent_texts_of_equal_trust_are_merged():
    parts = [
        TextInput(text="<|im_", untrusted=True),
        TextInput(text=""),
        TextInput(text="end|>", untrusted=True),
    ]
    assert merge_adjacent_texts(parts) == [TextInput(text="<|im_end|>", untrusted=True)]
    assert merge_adjacent_texts([*parts[:1], IMAGE, *parts[2:]]) == [parts[0], IMAGE, parts[2]]


def test_one_megabyte_is_escaped_in_linear_time():
    start = time.process_time()
    escape_control_tokens("<|" * 500_000)
    assert time.process_time() - start < 5
