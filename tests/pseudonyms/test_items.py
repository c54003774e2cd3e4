"""Which parts of a text are handles, addresses, phone numbers and names."""

import sys
import time

import pytest
from pydantic import TypeAdapter, ValidationError

from gen_msa.errors import MissingExtra
from gen_msa.pseudonyms import ITEM_KINDS, ItemKinds, Pseudonymizer, items
from gen_msa.pseudonyms.items import find_items, find_names, names_model

RULES = {"handles", "urls", "emails", "phones"}


def found(text, kinds=RULES):
    return [(i.kind, text[i.start : i.end]) for i in find_items(text, kinds)]


@pytest.mark.parametrize(
    ("text", "handles"),
    [
        ("thanks @ana!", ["@ana"]),
        ("@ana_1, (@Bob) and .@carl's", ["@ana_1", "@Bob", "@carl"]),
        ("@ana😀 @bob❤️ @carl\ufe0f", ["@ana", "@bob", "@carl"]),
        ("你好@小明 再见", ["@小明"]),
        ("＠太郎 です", ["＠太郎"]),
        ("@jose\u0301 and @राम", ["@jose\u0301", "@राम"]),
        ("@ana\u200bb ok", ["@ana\u200bb"]),
        ("@ana.b-c. The end", ["@ana.b-c"]),
        ("@ana@bob", ["@ana", "@bob"]),
        ("@ana@example.social says", ["@ana@example.social"]),
        ("u/ana_b and /u/Bob", ["u/ana_b", "/u/Bob"]),
        ("at 5 @ noon, me@home.org", []),
        ("https://medium.com/@ana/x and twitter.com/Bob/status/1", ["@ana", "Bob"]),
        ("youtube.com/watch?v=1", []),
    ],
)
def test_handles(text, handles):
    assert [item for _, item in found(text, {"handles"})] == handles


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see https://t.co/Ab1, then HTTP://X.ORG/?a=b#c.", ["https://t.co/Ab1", "HTTP://X.ORG/?a=b#c"]),
        ("(https://en.wikipedia.org/wiki/A_(b))", ["https://en.wikipedia.org/wiki/A_(b)"]),
        ("看https://t.co/abc很好", ["https://t.co/abc"]),
        ("https://ja.wikipedia.org/wiki/東京 ok", ["https://ja.wikipedia.org/wiki/東京"]),
        ("https://café.fr/menü 😀", ["https://café.fr/menü"]),
        ("https://t.co/abc😀", ["https://t.co/abc"]),
        ("www.x.de/y and x.com, bit.ly/3x", ["www.x.de/y", "x.com", "bit.ly/3x"]),
        ("so great.it was good.so nice", []),
        ('"https://x.com/a"', ["https://x.com/a"]),
    ],
)  # fmt: skip
def test_urls(text, urls):
    assert [item for _, item in found(text, {"urls"})] == urls


@pytest.mark.parametrize(
    ("text", "emails"),
    [
        ("ana@example.com.", ["ana@example.com"]),
        ("'o'neil+x@mail.co.uk'", ["o'neil+x@mail.co.uk"]),
        ("mailto:x@y.org", ["x@y.org"]),
        ("müller@münchen.de", ["müller@münchen.de"]),
        ("ana@example.com很好", ["ana@example.com"]),
        ("ana [at] example [dot] com", ["ana [at] example [dot] com"]),
        ("@ana ana@home", []),
    ],
)
def test_emails(text, emails):
    assert [item for _, item in found(text, {"emails"})] == emails


@pytest.mark.parametrize(
    "phone",
    ["+49 170 1234567", "(555) 123-4567", "+1-202-555-0143", "0170 1234567", "020 7946 0958"],
)
def test_phones_of_several_countries(phone):
    assert found(f"call {phone} now", {"phones"}) == [("phones", phone)]


def test_prices_and_few_digits_are_no_phones():
    assert found("5 stars for 1,299.99 at 10:30", {"phones"}) == []


def test_overlapping_items_leave_nothing_behind():
    text = "write to John @ana or https://x.com/?to=ana@example.com&from=@bob"
    john = text.index("John")
    names = [(john, john + len("John @ana"))]
    kinds = {"names", "handles", "urls", "emails"}
    items_found = [(i.kind, text[i.start : i.end]) for i in find_items(text, kinds, names)]
    assert items_found == [
        ("names", "John"),
        ("handles", "@ana"),
        ("urls", "https://x.com/?to=ana@example.com&from=@bob"),
    ]
    assert found(text, {"emails", "handles"}) == [
        ("handles", "@ana"),
        ("emails", "ana@example.com"),
        ("handles", "@bob"),
    ]


def test_name_with_a_quotation_mark_is_cut_there():
    text = 'met Tom "Tommy" Hanks'
    items_found = find_items(text, {"names"}, [(4, len(text))])
    assert [text[i.start : i.end] for i in items_found] == ["Tom", "Tommy", "Hanks"]


def test_names_of_people_are_found_and_products_are_not():
    text = "Thanks to John Smith for the Galaxy phone"
    model = names_model("en", text)
    assert model is not None
    assert [text[a:b] for a, b in find_names(text, model)] == ["John Smith"]


def test_kinds_as_a_setting():
    kinds = TypeAdapter(ItemKinds)
    assert kinds.validate_python("urls, handles") == ("handles", "urls")
    assert kinds.validate_python(["urls", "urls"]) == ("urls",)
    assert kinds.validate_python("all") == tuple(sorted(ITEM_KINDS))
    with pytest.raises(ValidationError):
        kinds.validate_python("handels")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    items._phone_library.cache_clear()
    with pytest.raises(MissingExtra, match="privacy"):
        Pseudonymizer(["phones"], b"key")
    from gen_msa.cues.parsing import spacy_pipeline

    monkeypatch.setattr(spacy_pipeline, "is_installed", lambda _: False)
    with pytest.raises(MissingExtra, match="builtin"):
        Pseudonymizer(["names"], b"key")
    Pseudonymizer(["handles", "urls", "emails"], b"key")


@pytest.mark.parametrize(
    "text",
    [
        "@" * 20_000,
        "a" * 20_000 + "@",
        "a.b-" * 5_000,
        "http://" + "(" * 9_000 + ")" * 9_000,
        "12 34 " * 3_000,
        "a [at] " * 3_000,
        "x.com/" * 3_000,
    ],
)
def test_hostile_texts_take_linear_time(text):
    began = time.process_time()
    find_items(text, RULES)
    assert time.process_time() - began < 5
