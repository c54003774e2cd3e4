"""What an answer quotes is verbatim when that is asked, whatever the model would rather say."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.hf.generate import QuoteConstraint
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.chat import Chat, Request, TextInput, Turn
from tests.fixtures.tiny_models import tiny_model

POST = "The screen is great, but the battery is awful"


def decode(ids, context):
    return "".join(map(chr, ids)).rstrip("\0\1")


def choose(prefix, preferred, others, text=POST):
    scores = torch.full((256,), -9.0)
    for rank, letter in enumerate([preferred, *others]):
        scores[ord(letter)] = -float(rank)
    return chr(
        QuoteConstraint(decode, {0}).choose_token(
            [*map(ord, prefix)], (), text, scores, ord(preferred)
        )
    )


@pytest.mark.parametrize(
    ("prefix", "preferred", "others", "expected"),
    [
        ("It says ", '"', "xa", '"'),
        ('It says "', "g", "xa", "g"),
        ('It says "', "z", "xg", "g"),
        ('It says "grea', "r", "xt", "t"),
        ('It says "great', "!", 'x"', '"'),
        ('It says "great" and ', "z", "ab", "z"),
        ('It says "great" and "awf', "z", "au", "u"),
        ('It says "', "r", "eag", "a"),
        ('It says "grea', '"', "xt", "t"),
        ('It says "gre', "\0", 'x"a', "a"),
        ('It says "great', "\0", 'x"', '"'),
    ],
)
def test_quote_continues_only_with_text_of_the_post(prefix, preferred, others, expected):
    assert choose(prefix, preferred, others) == expected


def test_model_choice_stands_when_no_likely_token_fits():
    assert choose('"', "z", "", text="") == "z"


def test_partial_character_is_allowed_only_before_a_multibyte_one():
    assert choose('"awf', "\0", 'xu"') == "u"
    assert choose('"so ', "\1", 'xu"', text="so 😩") == "\1"


def test_broken_quote_is_left_unconstrained():
    assert choose('"zzz', "q", "x") == "q"


def test_quote_is_never_empty():
    assert choose('It says "', '"', "xg") == "g"


def complete_prompts(quotes):
    tiny = tiny_model("llama")
    backend = TransformersBackend.from_model(tiny.model, tiny.processor, BackendOptions(), "r")
    chats = [
        Chat(turns=(Turn(role="user", parts=(TextInput(text=f'{POST} {i} Say "'),)),))
        for i in range(4)
    ]
    return backend.complete(
        [Request(chat=c, max_new_tokens=24, quote_source=quotes) for c in chats]
    )


def test_constraint_applies_only_when_requested():
    unconstrained, constrained = complete_prompts(""), complete_prompts(POST)
    assert all("quotes" not in c.notes for c in unconstrained)
    assert all(c.notes["quotes"] == "verbatim" for c in constrained)
    quoted = [part for c in constrained for part in c.text.split('"')[1::2]]
    assert all(part in POST for part in quoted)
