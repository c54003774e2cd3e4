"""Sentences with aspects: XML with offsets, words with a parse, words with a picture, dialogues."""

import json
from pathlib import Path
from typing import Any

import pytest

from gen_msa.data.formats import formats
from gen_msa.data.formats._sentences import heads_in_record, heads_in_sentences, sentences_of
from gen_msa.types import (
    WHOLE_POST,
    Aspect,
    Example,
    Media,
    Opinion,
    Parse,
    Polarity,
    Post,
    Rejected,
    Status,
    Token,
)
from tests.data.making import gold


def read(name: str, path: Path, text: str) -> list[Example | Rejected]:
    path.write_text(text, encoding="utf-8")
    return list(formats[name].read(path))


def xml(*sentences: str) -> str:
    return f'<?xml version="1.0"?><sentences>{"".join(sentences)}</sentences>'


TEA = (
    '<sentence><text>tea &amp; tea</text><aspectTerms><aspectTerm from="6" polarity="positive" '
    'term="tea" to="9"/><aspectTerm from="0" polarity="conflict" term="tea" to="3"/></aspectTerms>'
    '<aspectCategories><aspectCategory category="food" polarity="neutral"/></aspectCategories>'
    "</sentence>"
)


def test_xml_gives_terms_by_offset_a_conflict_unread_and_categories_apart(tmp_path: Path) -> None:
    (row,) = read("semeval_xml", tmp_path / "t.xml", xml(TEA))
    second, first = Aspect(term="tea", start=6), Aspect(term="tea", start=0)
    assert row == Example(
        post=Post(id="t-1", text="tea & tea", aspects=(second, first)),
        opinions=(
            gold(second, "positive"),
            Opinion(by="gold", aspect=first, raw="conflict", status=Status.UNPARSED),
            Opinion(by="gold_category", aspect=Aspect(term="food"), polarity=Polarity.NEUTRAL),
        ),
    )
    formats["semeval_xml"].write(tmp_path / "again.xml", [row])
    assert list(formats["semeval_xml"].read(tmp_path / "again.xml")) == [row]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('from="6"', 'from="5"', "'tea' is not at 5-9"),
        ('to="9"', 'to="8"', "'tea' is not at 6-8"),
        ('from="6"', 'from="-3"', "are not offsets"),
        ('from="6"', "", "are not offsets"),
        ("<text>tea &amp; tea</text>", "", "no text"),
        ('from="6"', 'from="0"', "not at 0-9"),
    ],
)
def test_a_wrong_offset_sets_the_sentence_aside(
    old: str, new: str, reason: str, tmp_path: Path
) -> None:
    rows = read("semeval_xml", tmp_path / "t.xml", xml(TEA, TEA.replace(old, new), TEA))
    assert [isinstance(r, Example) for r in rows] == [True, False, True]
    bad = rows[1]
    assert isinstance(bad, Rejected)
    assert (bad.line, reason in bad.reason) == (2, True)


def test_a_term_without_label_is_an_aspect_without_opinion(tmp_path: Path) -> None:
    (row,) = read("semeval_xml", tmp_path / "t.xml", xml(TEA.replace('polarity="positive" ', "")))
    assert isinstance(row, Example)
    assert [len(row.post.aspects), len(row.said_by("gold"))] == [2, 1]


BOMB = '<!DOCTYPE s [<!ENTITY a "tea">]>'


@pytest.mark.parametrize(
    ("text", "good", "reason"),
    [
        (xml(TEA, TEA)[:-40], 1, "ParseError"),
        (f'<?xml version="1.0"?>{BOMB}<sentences>{TEA}</sentences>', 0, "DTDForbidden"),
        ("tea", 0, "ParseError"),
        ("", 0, "ParseError"),
        ("<html></html>", 0, "<html> is not <sentences>"),
        (xml(TEA, f"<sentence><text>{'x' * (3 << 20)}</text></sentence>"), 1, "over the limit"),
    ],
)
def test_what_is_not_sound_xml_ends_the_reading_and_says_so(
    text: str, good: int, reason: str, tmp_path: Path
) -> None:
    rows = read("semeval_xml", tmp_path / "t.xml", text)
    assert [isinstance(r, Example) for r in rows] == [True] * good + [False]
    bad = rows[-1]
    assert isinstance(bad, Rejected)
    assert reason in bad.reason


def record(**changes: Any) -> str:
    made = {
        "token": ["Good", "tea", "here", ".", "Go"],
        "pos": ["JJ", "NN", "RB", ".", "VB"],
        "head": [2, 0, 2, 2, 0],
        "deprel": ["amod", "root", "advmod", "punct", "root"],
        "aspects": [{"term": ["tea"], "from": 1, "to": 2, "polarity": "positive"}],
    }
    return json.dumps([made | changes])


def test_a_parse_comes_with_the_post_and_heads_count_in_the_whole_record(tmp_path: Path) -> None:
    (row,) = read("stanza_json", tmp_path / "s.json", record())
    assert isinstance(row, Example)
    assert row.post.text == "Good tea here . Go"
    assert row.post.parse is not None
    assert row.post.parse.by == "stanza"
    assert [t.head for t in row.post.parse.tokens] == [1, -1, 1, 1, -1]
    assert all(row.post.text.startswith(t.text, t.start) for t in row.post.parse.tokens)
    assert row.opinions == (gold(Aspect(term="tea", start=5), "positive"),)


@pytest.mark.parametrize(
    ("aspect", "start", "term"),
    [
        ({"term": ["here"], "from": 1, "to": 2}, 9, "here"),
        ({"term": ["Te", "a"], "from": 0, "to": 2}, None, "Te a"),
        ({"term": ["te", "a", "here"], "from": 0, "to": 9}, 5, "tea here"),
        ({"term": ["Good"], "from": 3, "to": 4}, 0, "Good"),
    ],
)
def test_a_span_beside_its_term_is_moved_and_the_post_says_so(
    aspect: dict[str, Any], start: int | None, term: str, tmp_path: Path
) -> None:
    text = record(aspects=[aspect | {"polarity": "neutral"}])
    (row,) = read("stanza_json", tmp_path / "s.json", text)
    assert isinstance(row, Example)
    assert row.post.aspects == (Aspect(term=term, start=start),)
    assert row.post.meta == {"spans": [aspect]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pos": ["JJ"]}, "zip()"),
        ({"head": [2, 1, 2, 2, 0]}, "no trees"),
        ({"head": [2, 0, 2, 9, 0]}, "no trees"),
        ({"token": ["Good", "", "here", ".", "Go"]}, "empty word"),
        ({"sentences": [2, 2]}, "4 tokens, but 5 heads"),
        ({"sentences": [1, 4]}, "outside its sentence"),
        ({"mood": 1}, "mood: Extra inputs"),
        ({"head": [0] * 5 + [7] * 300, "token": ["x"] * 305}, "tell sentences apart"),
    ],
)
def test_a_record_whose_parse_is_broken_is_set_aside(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    (row,) = read("stanza_json", tmp_path / "s.json", record(**changes))
    assert isinstance(row, Rejected)
    assert reason in row.reason


def test_sentences_are_told_apart_by_their_trees_and_the_stop_stays_with_the_first() -> None:
    assert sentences_of([2, 0, 1, 0]) in ([3, 1], [2, 2])
    assert sentences_of([2, 0, 2, 2, 0]) == [4, 1]
    assert sentences_of([0, 1, 2, 0, 1]) == [3, 2]
    assert sentences_of([]) == []


@pytest.mark.parametrize("heads", [[1, -1, 1, -1, 3], [-1], [-1, 0, -1, 2, 2], [3, -1, 1, -1], []])
def test_heads_survive_being_written(heads: list[int]) -> None:
    sizes, written = heads_in_sentences(heads)
    assert heads_in_record(written, sizes) == heads


def test_a_parse_of_two_sentences_round_trips_with_its_ids_and_meta(tmp_path: Path) -> None:
    heads = [1, -1, 1, -1, 3]
    words = ["a", "bc", "d", "e", "f"]
    starts = [0, 2, 5, 7, 9]
    tokens = tuple(
        Token(text=w, start=s, head=h, rel="dep", pos="X")
        for w, s, h in zip(words, starts, heads, strict=True)
    )
    aspect = Aspect(term="bc d", start=2)
    parse = Parse(tokens=tokens, by="stanza")
    post = Post(id="mine", text="a bc d e f", aspects=(aspect,), parse=parse, meta={"k": [1]})
    found = [Example(post=post, opinions=(gold(aspect, "neutral"),))]
    path = tmp_path / "s.json"
    formats["stanza_json"].write(path, found)
    assert list(formats["stanza_json"].read(path)) == found


def test_joint_words_give_text_span_picture_and_tags(tmp_path: Path) -> None:
    made = {
        "words": ["bad", "green", "tea"],
        "image_id": "7.jpg",
        "aspects": [{"from": 1, "to": 3, "polarity": "NEG", "term": ["green", "tea"]}],
        "opinions": [{"term": []}],
        "x_pos": ["JJ", "JJ", "NN", "NN"],
    }
    wrong = made | {"aspects": [made["aspects"][0] | {"to": 2}]}  # type: ignore[index]
    opinion_words = made | {"opinions": [{"term": ["bad"]}]}
    rows = read("joint_json", tmp_path / "j.json", json.dumps([made, wrong, opinion_words]))
    aspect = Aspect(term="green tea", start=4)
    post = Post(
        id="7-1",
        text="bad green tea",
        media=(Media(kind="image", path="7.jpg"),),
        aspects=(aspect,),
        meta={"x_pos": ["JJ", "JJ", "NN", "NN"]},
    )
    assert rows[0] == Example(post=post, opinions=(gold(aspect, "negative"),))
    assert [r.reason.split(":")[0] for r in rows[1:] if isinstance(r, Rejected)] == [
        "aspects",
        "opinions",
    ]
    formats["joint_json"].write(tmp_path / "k.json", [rows[0]])
    assert json.loads((tmp_path / "k.json").read_text()) == [made]


def test_an_utterance_has_its_sentiment_as_a_whole_and_its_place_in_the_dialogue(
    tmp_path: Path,
) -> None:
    table = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
        '1,"Tea, now!",Ann,anger,negative,4,0\n2,No.,Ben,neutral,bad,4,1\n'
    )
    good, bad = read("meld_csv", tmp_path / "dev.csv", table)
    assert isinstance(good, Example)
    assert good.post.id == "dev-4-0"
    assert good.post.meta == {
        "Sr No.": "1",
        "Speaker": "Ann",
        "Dialogue_ID": "4",
        "Utterance_ID": "0",
    }
    how = {"emotion": "anger"}
    assert good.opinions == (
        Opinion(by="gold", aspect=WHOLE_POST, polarity=Polarity.NEGATIVE, how=how),
    )
    assert isinstance(bad, Rejected)
    assert (bad.line, "'bad' is no sentiment" in bad.reason) == (3, True)
    formats["meld_csv"].write(tmp_path / "again.csv", [good])
    assert list(formats["meld_csv"].read(tmp_path / "again.csv")) == [good]
