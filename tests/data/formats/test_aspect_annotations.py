"""Test sentences with aspects: XML with offsets, words with a parse or an image, dialogues."""

import json
from pathlib import Path
from typing import Any

import pytest

from gen_msa.data.formats import formats
from gen_msa.data.formats.stanza_json import split_sentences, to_record_heads, to_sentence_heads
from gen_msa.errors import InputWarning
from gen_msa.types import (
    OVERALL_ASPECT,
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
from tests.data.builders import gold_opinion


def read(name: str, path: Path, text: str) -> list[Example | Rejected]:
    path.write_text(text, encoding="utf-8")
    return list(formats[name].read(path))


def xml(*sentences: str) -> str:
    return f'<?xml version="1.0"?><sentences>{"".join(sentences)}</sentences>'


TEA_SENTENCE = (
    '<sentence><text>tea &amp; tea</text><aspectTerms><aspectTerm from="6" polarity="positive" '
    'term="tea" to="9"/><aspectTerm from="0" polarity="conflict" term="tea" to="3"/></aspectTerms>'
    '<aspectCategories><aspectCategory category="food" polarity="neutral"/></aspectCategories>'
    "</sentence>"
)


def test_semeval_xml_reads_offsets_conflicts_and_categories(tmp_path: Path) -> None:
    (row,) = read("semeval_xml", tmp_path / "t.xml", xml(TEA_SENTENCE))
    second, first = Aspect(term="tea", start=6), Aspect(term="tea", start=0)
    assert row == Example(
        post=Post(id="t-1", text="tea & tea", aspects=(second, first)),
        opinions=(
            gold_opinion(second, "positive"),
            Opinion(annotator="gold", aspect=first, raw="conflict", status=Status.UNPARSED),
            Opinion(
                annotator="gold_category", aspect=Aspect(term="food"), polarity=Polarity.NEUTRAL
            ),
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
def test_wrong_offset_rejects_sentence(old: str, new: str, reason: str, tmp_path: Path) -> None:
    rows = read(
        "semeval_xml",
        tmp_path / "t.xml",
        xml(TEA_SENTENCE, TEA_SENTENCE.replace(old, new), TEA_SENTENCE),
    )
    assert [isinstance(r, Example) for r in rows] == [True, False, True]
    rejected = rows[1]
    assert isinstance(rejected, Rejected)
    assert (rejected.line, reason in rejected.reason) == (2, True)


def test_term_without_label_is_aspect_without_opinion(tmp_path: Path) -> None:
    (row,) = read(
        "semeval_xml", tmp_path / "t.xml", xml(TEA_SENTENCE.replace('polarity="positive" ', ""))
    )
    assert isinstance(row, Example)
    assert [len(row.post.aspects), len(row.opinions_by("gold"))] == [2, 1]


ENTITY_DECLARATION = '<!DOCTYPE s [<!ENTITY a "tea">]>'


@pytest.mark.parametrize(
    ("text", "n_accepted", "reason"),
    [
        (xml(TEA_SENTENCE, TEA_SENTENCE)[:-40], 1, "ParseError"),
        (
            f'<?xml version="1.0"?>{ENTITY_DECLARATION}<sentences>{TEA_SENTENCE}</sentences>',
            0,
            "DTDForbidden",
        ),
        ("tea", 0, "ParseError"),
        ("", 0, "ParseError"),
        ("<html></html>", 0, "<html> is not <sentences>"),
        (
            xml(TEA_SENTENCE, f"<sentence><text>{'x' * (3 << 20)}</text></sentence>"),
            1,
            "over the limit",
        ),
    ],
)
def test_malformed_xml_ends_reading_with_rejection(
    text: str, n_accepted: int, reason: str, tmp_path: Path
) -> None:
    rows = read("semeval_xml", tmp_path / "t.xml", text)
    assert [isinstance(r, Example) for r in rows] == [True] * n_accepted + [False]
    rejected = rows[-1]
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason


def stanza_record(**changes: Any) -> str:
    fields = {
        "token": ["Good", "tea", "here", ".", "Go"],
        "pos": ["JJ", "NN", "RB", ".", "VB"],
        "head": [2, 0, 2, 2, 0],
        "deprel": ["amod", "root", "advmod", "punct", "root"],
        "aspects": [{"term": ["tea"], "from": 1, "to": 2, "polarity": "positive"}],
    }
    return json.dumps([fields | changes])


def test_stanza_json_reads_parse_with_global_heads(tmp_path: Path) -> None:
    (row,) = read("stanza_json", tmp_path / "s.json", stanza_record())
    assert isinstance(row, Example)
    assert row.post.text == "Good tea here . Go"
    assert row.post.parse is not None
    assert row.post.parse.parser == "stanza"
    assert [t.head for t in row.post.parse.tokens] == [1, -1, 1, 1, -1]
    assert all(row.post.text.startswith(t.text, t.start) for t in row.post.parse.tokens)
    assert row.opinions == (gold_opinion(Aspect(term="tea", start=5), "positive"),)


@pytest.mark.parametrize(
    ("aspect", "start", "term"),
    [
        ({"term": ["here"], "from": 1, "to": 2}, 9, "here"),
        ({"term": ["Te", "a"], "from": 0, "to": 2}, None, "Te a"),
        ({"term": ["te", "a", "here"], "from": 0, "to": 9}, 5, "tea here"),
        ({"term": ["Good"], "from": 3, "to": 4}, 0, "Good"),
    ],
)
def test_mismatched_span_is_relocated_and_noted_in_meta(
    aspect: dict[str, Any], start: int | None, term: str, tmp_path: Path
) -> None:
    text = stanza_record(aspects=[aspect | {"polarity": "neutral"}])
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
        ({"head": [0] * 5 + [7] * 300, "token": ["x"] * 305}, "split into sentences"),
    ],
)
def test_record_with_broken_parse_is_rejected(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    (row,) = read("stanza_json", tmp_path / "s.json", stanza_record(**changes))
    assert isinstance(row, Rejected)
    assert reason in row.reason


def test_split_sentences_by_dependency_trees() -> None:
    assert split_sentences([2, 0, 1, 0]) in ([3, 1], [2, 2])
    assert split_sentences([2, 0, 2, 2, 0]) == [4, 1]
    assert split_sentences([0, 1, 2, 0, 1]) == [3, 2]
    assert split_sentences([]) == []


@pytest.mark.parametrize("heads", [[1, -1, 1, -1, 3], [-1], [-1, 0, -1, 2, 2], [3, -1, 1, -1], []])
def test_sentence_heads_round_trip(heads: list[int]) -> None:
    sizes, written = to_sentence_heads(heads)
    assert to_record_heads(written, sizes) == heads


def test_two_sentence_parse_round_trips_with_id_and_meta(tmp_path: Path) -> None:
    heads = [1, -1, 1, -1, 3]
    words = ["a", "bc", "d", "e", "f"]
    starts = [0, 2, 5, 7, 9]
    tokens = tuple(
        Token(text=w, start=s, head=h, rel="dep", pos="X")
        for w, s, h in zip(words, starts, heads, strict=True)
    )
    aspect = Aspect(term="bc d", start=2)
    parse = Parse(tokens=tokens, parser="stanza")
    post = Post(id="mine", text="a bc d e f", aspects=(aspect,), parse=parse, meta={"k": [1]})
    examples = [Example(post=post, opinions=(gold_opinion(aspect, "neutral"),))]
    path = tmp_path / "s.json"
    formats["stanza_json"].write(path, examples)
    assert list(formats["stanza_json"].read(path)) == examples


def test_joint_json_reads_text_span_image_and_tags(tmp_path: Path) -> None:
    joint_record = {
        "words": ["bad", "green", "tea"],
        "image_id": "7.jpg",
        "aspects": [{"from": 1, "to": 3, "polarity": "NEG", "term": ["green", "tea"]}],
        "opinions": [{"term": []}],
        "x_pos": ["JJ", "JJ", "NN", "NN"],
    }
    wrong = joint_record | {"aspects": [joint_record["aspects"][0] | {"to": 2}]}  # type: ignore[index]
    opinion_words = joint_record | {"opinions": [{"term": ["bad"]}]}
    rows = read("joint_json", tmp_path / "j.json", json.dumps([joint_record, wrong, opinion_words]))
    aspect = Aspect(term="green tea", start=4)
    post = Post(
        id="7-1",
        text="bad green tea",
        media=(Media(kind="image", path="7.jpg"),),
        aspects=(aspect,),
        meta={"x_pos": ["JJ", "JJ", "NN", "NN"]},
    )
    assert rows[0] == Example(post=post, opinions=(gold_opinion(aspect, "negative"),))
    assert [r.reason.split(":")[0] for r in rows[1:] if isinstance(r, Rejected)] == [
        "aspects",
        "opinions",
    ]
    formats["joint_json"].write(tmp_path / "k.json", [rows[0]])
    assert json.loads((tmp_path / "k.json").read_text()) == [joint_record]


def test_meld_utterance_has_overall_sentiment_and_dialogue_position(
    tmp_path: Path,
) -> None:
    table = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
        '1,"Tea, now!",Ann,anger,negative,4,0\n2,No.,Ben,neutral,bad,4,1\n'
    )
    accepted, rejected = read("meld_csv", tmp_path / "dev.csv", table)
    assert isinstance(accepted, Example)
    assert accepted.post.id == "dev-4-0"
    assert accepted.post.meta == {
        "Sr No.": "1",
        "Speaker": "Ann",
        "Dialogue_ID": "4",
        "Utterance_ID": "0",
    }
    provenance = {"emotion": "anger"}
    assert accepted.opinions == (
        Opinion(
            annotator="gold",
            aspect=OVERALL_ASPECT,
            polarity=Polarity.NEGATIVE,
            provenance=provenance,
        ),
    )
    assert isinstance(rejected, Rejected)
    assert (rejected.line, "'bad' is not a sentiment" in rejected.reason) == (3, True)
    formats["meld_csv"].write(tmp_path / "again.csv", [accepted])
    assert list(formats["meld_csv"].read(tmp_path / "again.csv")) == [accepted]


REVIEW = (
    '<Reviews><Review rid="r"><sentences><sentence id="r:0"><text>good tea, bad tea</text>'
    "<Opinions>{}</Opinions></sentence></sentences></Review></Reviews>"
)


def semeval16_opinion(target: str, category: str, label: str, begin: int, end: int) -> str:
    attributes = f'target="{target}" category="{category}" polarity="{label}"'
    return f'<Opinion {attributes} from="{begin}" to="{end}"/>'


def test_semeval16_opinions_become_targets_and_categories(tmp_path: Path) -> None:
    text = REVIEW.format(
        semeval16_opinion("tea", "DRINKS#QUALITY", "positive", 5, 8)
        + semeval16_opinion("tea", "DRINKS#PRICE", "negative", 14, 17)
        + semeval16_opinion("NULL", "SERVICE#GENERAL", "neutral", 0, 0)
    )
    (row,) = read("semeval_xml", tmp_path / "t.xml", text)
    assert isinstance(row, Example)
    assert row.post.aspects == (Aspect(term="tea", start=5), Aspect(term="tea", start=14))
    assert [o.polarity for o in row.opinions_by("gold")] == ["positive", "negative"]
    categories = {o.aspect.term: o.polarity for o in row.opinions_by("gold_category")}
    assert categories == {
        "DRINKS#QUALITY": "positive",
        "DRINKS#PRICE": "negative",
        "SERVICE#GENERAL": "neutral",
    }


def test_semeval16_target_with_two_labels_is_a_conflict(tmp_path: Path) -> None:
    text = REVIEW.format(
        semeval16_opinion("tea", "DRINKS#QUALITY", "positive", 5, 8)
        + semeval16_opinion("tea", "DRINKS#PRICE", "negative", 5, 8)
    )
    (row,) = read("semeval_xml", tmp_path / "t.xml", text)
    assert isinstance(row, Example)
    (gold,) = row.opinions_by("gold")
    assert (gold.polarity, gold.raw, gold.status) == (None, "conflict", Status.UNPARSED)


def test_elements_that_are_not_read_are_counted(tmp_path: Path) -> None:
    emotions = "<emotions><e/></emotions>"
    text = xml(TEA_SENTENCE.replace("</sentence>", f"{emotions}</sentence>"), TEA_SENTENCE)
    with pytest.warns(InputWarning, match="not read, with the labels in them: 1 <emotions>") as w:
        rows = read("semeval_xml", tmp_path / "t.xml", text)
    assert [isinstance(r, Example) for r in rows] == [True, True]
    assert [note.message.unused for note in w] == [{"element": 1}]


def test_foreign_root_is_refused_before_any_example(tmp_path: Path) -> None:
    text = f"<corpus>{TEA_SENTENCE}</corpus>"
    (row,) = read("semeval_xml", tmp_path / "t.xml", text)
    assert isinstance(row, Rejected)
    assert "<corpus> is not <sentences>" in row.reason
