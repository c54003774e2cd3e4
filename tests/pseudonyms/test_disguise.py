"""A disguise hides every item of a post, and what a model writes about it is restored."""

import os
import stat
import string
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.pseudonyms import NamesNotFindable, Pseudonymizer
from gen_msa.pseudonyms.placeholders import KEY_ENV_VAR, key_file, load_key
from gen_msa.types import Aspect, Parse, Post, Token

KEY = b"a key of the tests"
RULES = Pseudonymizer(["handles", "urls", "emails", "phones"], KEY)
ALL = Pseudonymizer(["handles", "urls", "emails", "phones", "names"], KEY)

handles = st.text(string.ascii_letters + string.digits + "_éß名", min_size=1, max_size=12).map(
    "@{}".format
)
addresses = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
urls = st.tuples(addresses, addresses).map(lambda p: f"https://{p[0]}.org/{p[1]}")
emails = st.tuples(addresses, addresses).map(lambda p: f"{p[0]}@{p[1]}.com")
phones = st.integers(10**6, 10**7 - 1).map("+49 170 {}".format)
words = st.sampled_from(["good", "很好", "😀", "user", "person", "link", "(", '"', "\\", "\n", "!"])
posts = st.lists(st.one_of(handles, urls, emails, phones, words), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(posts, st.sampled_from([" ", "  ", " , "]))
def test_no_item_is_left_and_all_come_back(parts, separator):
    text = separator.join(parts)
    disguise = RULES.disguise(text)
    items = [p for p in parts if p[0] in "@+" or "://" in p or "@" in p]
    assert [i for i in items if i in disguise.text] == []
    assert disguise.restore(disguise.text) == text
    assert disguise.hide(disguise.text) == disguise.text
    assert RULES.disguise(text).text == disguise.text


def test_same_item_has_one_placeholder_in_all_posts_and_no_other_item_has_it():
    first = RULES.disguise("@ana and @bob, @ana").text
    second = RULES.disguise("@bob before @ana").text
    ana, _, bob, again = first.replace(",", "").split()
    assert ana == again == second.split()[2]
    assert bob == second.split()[0] != ana
    assert Pseudonymizer(["handles"], b"another key").disguise("@ana").text != ana


def test_spellings_of_a_handle_differ_in_two_characters_only():
    disguise = RULES.disguise("@Ana @ana")
    upper, lower = disguise.text.split()
    assert upper[:-2] == lower[:-2]
    assert disguise.restore(f"{lower} {upper}") == "@ana @Ana"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (str, "@ana on https://t.co/x, bob@x.org"),
        (str.upper, "@ana on https://t.co/x, bob@x.org"),
        (lambda t: t.replace("@user", "user"), "ana on https://t.co/x, bob@x.org"),
        (lambda t: t.replace("/", "\\/"), "@ana on https://t.co/x, bob@x.org"),
        (lambda t: t.replace("https://", ""), "@ana on https://t.co/x, bob@x.org"),
        (lambda t: t.replace("@mail.example", ""), "@ana on https://t.co/x, bob@x.org"),
    ],
)
def test_forms_in_which_a_model_writes_a_placeholder(change, expected):
    disguise = RULES.disguise("@ana on https://t.co/x, bob@x.org")
    assert disguise.restore(change(disguise.text)).replace("ON", "on") == expected


@pytest.mark.parametrize("item", ["@u", "@us", "@user", "@Person", "https://link.org", "@mail"])
def test_placeholder_contains_no_item(item):
    hidden = RULES.disguise(f"{item} likes it").text
    assert item.casefold() not in hidden.casefold()


@pytest.mark.parametrize(
    ("text", "term", "start"),
    [
        ("thanks @acme for the screen", "screen", 21),
        ("thanks @acme for the screen", "@acme", 7),
        ("thanks @acme for the screen", "acme", 8),
        ("thanks @acme for", "@acme for", 7),
        ("see https://acme.com/tv now", "acme", 12),
        ("@a 😀 @b screen", "screen", 8),
    ],
)
def test_aspects_stand_in_the_hidden_text(text, term, start):
    assert text[start : start + len(term)] == term
    post = Post(id="1", text=text, aspects=(Aspect(term=term, start=start),))
    disguise = RULES.disguise(text, [term])
    (aspect,) = disguise.hide_post(post).aspects
    assert disguise.text[aspect.start : aspect.end] == aspect.term
    assert term in disguise.restore(aspect.term)
    if term == "screen":
        assert aspect.term == "screen"
    else:
        assert "acme" not in aspect.term


def test_term_that_stands_nowhere_is_hidden_if_it_names_a_handle():
    disguise = RULES.disguise("thanks @acme")
    assert disguise.hide_aspect(Aspect(term="ACME")).term == disguise.text.split()[1]
    assert disguise.hide_aspect(Aspect(term="the price")).term == "the price"


def test_other_texts_hide_their_own_items_and_those_of_the_post():
    disguise = RULES.disguise("@ana wrote")
    hidden = disguise.hide("caption: @ana with @bob")
    assert disguise.text.split()[0] in hidden
    assert "@bob" not in hidden
    assert disguise.restore(hidden) == "caption: @ana with @bob"


def test_names_and_their_parts():
    disguise = ALL.disguise("Great service by John Smith. Thanks John, will return")
    assert "John" not in disguise.text
    assert "Smith" not in disguise.hide("ask Smith")
    assert "will return" in disguise.text
    assert (
        disguise.restore(disguise.text) == "Great service by John Smith. Thanks John, will return"
    )


def test_names_in_a_language_without_a_model_are_an_error():
    with pytest.raises(NamesNotFindable, match="'xx'"):
        ALL.disguise("ŝatas Johanon", language="xx")
    assert RULES.disguise("ŝatas Johanon", language="xx").text == "ŝatas Johanon"


def test_parse_moves_with_the_text_or_is_dropped():
    text = "@ana likes t.co/x"
    words = [("@ana", 0), ("likes", 5), ("t.co/x", 11)]
    tokens = tuple(Token(text=w, start=s, head=-1, rel="dep") for w, s in words)
    post = Post(id="1", text=text, parse=Parse(tokens=tokens, parser="stanza"))
    hidden = RULES.disguise(text).hide_post(post)
    assert hidden.parse is not None
    assert all(hidden.text[t.start :].startswith(t.text) for t in hidden.parse.tokens)
    assert [t.text for t in hidden.parse.tokens][1] == "likes"
    split = (*tokens[1:], tokens[0].model_copy(update={"text": "@"}))
    cut = post.model_copy(update={"parse": Parse(tokens=split, parser="stanza")})
    assert RULES.disguise(text).hide_post(cut).parse is None


def test_counts():
    assert RULES.disguise("@a @a @b https://x.org").counts == "2 handles, 1 url"
    assert RULES.disguise("good").counts == ""


def test_key_is_made_once_and_is_secret(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_ENV_VAR, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    code = "from gen_msa.pseudonyms.placeholders import load_key; print(load_key().hex())"
    run = [sys.executable, "-c", code]
    processes = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    keys = {p.communicate()[0].strip() for p in processes}
    assert keys == {load_key().hex()}
    assert len(load_key()) == 32
    assert [p.name for p in key_file().parent.iterdir()] == ["pseudonyms.key"]
    if os.name == "posix":
        assert stat.S_IMODE(key_file().stat().st_mode) == 0o600


def test_key_of_the_environment_and_bad_keys(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY_ENV_VAR, "0123456789abcdef")
    assert load_key() == b"0123456789abcdef"
    monkeypatch.setenv(KEY_ENV_VAR, "short")
    with pytest.raises(UserError, match="16 characters"):
        load_key()
    monkeypatch.delenv(KEY_ENV_VAR)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be stored"):
        load_key()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    key_file().parent.mkdir()
    key_file().write_bytes(b"cut")
    with pytest.raises(UserError, match="no key"):
        load_key()
