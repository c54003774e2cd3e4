"""What an answer quotes is verbatim when that is asked, whatever the model would rather say."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.local.quoting import Quoter
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.chat import Chat, Request, Text, Turn
from tests.fixtures.tiny_models import tiny_model

POST = "The screen is great, but the battery is awful"


def spelled(ids, context):
    return "".join(map(chr, ids)).rstrip("\0\1")


def chosen(said, wish, others, text=POST):
    scores = torch.full((256,), -9.0)
    for rank, letter in enumerate([wish, *others]):
        scores[ord(letter)] = -float(rank)
    return chr(Quoter(spelled, {0}).choose([*map(ord, said)], (), text, scores, ord(wish)))


@pytest.mark.parametrize(
    ("said", "wish", "others", "taken"),
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
def test_within_quotes_only_the_text_goes_on(said, wish, others, taken):
    assert chosen(said, wish, others) == taken


def test_where_no_likely_token_fits_the_models_own_is_taken():
    assert chosen('"', "z", "", text="") == "z"


def test_half_a_character_is_written_only_where_the_text_has_a_wide_one():
    assert chosen('"awf', "\0", 'xu"') == "u"
    assert chosen('"so ', "\1", 'xu"', text="so 😩") == "\1"


def test_a_quote_that_is_broken_already_is_let_go_without_a_search():
    assert chosen('"zzz', "q", "x") == "q"


def test_a_quote_is_never_empty():
    assert chosen('It says "', '"', "xg") == "g"


def answers(quotes):
    tiny = tiny_model("llama")
    backend = TransformersBackend.of(tiny.model, tiny.processor, BackendOptions(), "r")
    turns = [
        Chat(turns=(Turn(role="user", parts=(Text(text=f'{POST} {i} Say "'),)),)) for i in range(4)
    ]
    return backend.complete([Request(chat=c, max_new_tokens=24, quotes=quotes) for c in turns])


def test_a_random_model_is_held_to_it_and_only_when_asked():
    free, held = answers(""), answers(POST)
    assert all("quotes" not in c.notes for c in free)
    assert all(c.notes["quotes"] == "verbatim" for c in held)
    quoted = [part for c in held for part in c.text.split('"')[1::2]]
    assert all(part in POST for part in quoted)
