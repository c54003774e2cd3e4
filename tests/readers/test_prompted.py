"""A prompted reader: which prompt is asked about what, and what its opinions remember."""

import json
from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings, make
from gen_msa.types import WHOLE_POST, Polarity, Post, Status
from tests.fixtures.posts import post, write_picture


def read(posts, root=Path(), **settings):
    reader = make(ReaderSettings(**{"reader": "echo", **settings}), root)
    return [list(r.opinions) for r in reader.read(posts)]


def scripted(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return {"backend": {"script": str(path)}}


BARE = Post(id="b", text="The Soup at Marta was wonderful but the waiter ignored us")


def test_given_aspects_are_asked_one_by_one_with_their_cues():
    (said,) = read([post(3)])
    assert [o.aspect for o in said] == list(post(3).aspects)
    for o in said:
        assert o.how["aspect_source"] == "given"
        assert o.how["prompt"].startswith("reader/full@")
        assert o.how["cue_source.syntax"]
        assert o.probability == max(o.probs.values())


def test_quoted_words_become_evidence_in_the_text():
    (said,) = read([post(3)])
    for o in said:
        for e in o.evidence:
            assert e.start is not None
            assert post(3).text[e.start : e.start + len(e.quote)] == e.quote
    assert any(o.evidence for o in said)


def test_aspects_that_are_not_given_are_listed_by_the_reader(tmp_path):
    answer = {
        "aspects": [
            {"aspect": "soup", "sentiment": "positive", "explanation": 'It says "wonderful".'},
            {"aspect": "waiter", "sentiment": "negative", "explanation": 'It says "ignored us".'},
        ]
    }
    (said,) = read([BARE], **scripted(tmp_path, {"text": json.dumps(answer)}))
    assert [(o.aspect.term, o.polarity) for o in said] == [
        ("Soup", Polarity.POSITIVE),
        ("waiter", Polarity.NEGATIVE),
    ]
    assert {o.how["aspect_source"] for o in said} == {"reader"}


def test_candidates_of_the_parse_stand_in_when_asked_for():
    (said,) = read([BARE], aspects="parse")
    assert {"waiter"} <= {o.aspect.term.removeprefix("the ") for o in said}
    assert {o.how["aspect_source"] for o in said} == {"parse"}


def test_a_post_without_any_aspect_is_read_as_a_whole_and_says_so():
    (said,) = read([Post(id="e", text="")], aspects="parse")
    assert [o.aspect for o in said] == [WHOLE_POST]
    assert said[0].how["aspect_source"] == "overall: parse found none"
    (asked,) = read([BARE], aspects="overall")
    assert [o.aspect for o in asked] == [WHOLE_POST]
    assert asked[0].how["aspect_source"] == "overall"


def test_mixed_posts_come_back_in_order():
    whole = BARE.model_copy(update={"id": "w", "aspects": (WHOLE_POST,)})
    said = read([post(0), BARE, whole, post(1)])
    assert [o.aspect for o in said[0]] == list(post(0).aspects)
    assert {o.how["aspect_source"] for o in said[1]} == {"reader"}
    assert [o.aspect for o in said[2]] == [WHOLE_POST]
    assert [o.aspect for o in said[3]] == list(post(1).aspects)


def test_an_unread_answer_is_asked_once_more_with_the_constrained_prompt(tmp_path):
    mumble = {"match": "quotes the deciding words", "text": "well, who can say"}
    clear = {"match": "The post stands between", "text": "Sentiment: negative"}
    (said,) = read([post(0)], reask_prompt="", **scripted(tmp_path, mumble, clear))
    assert {(o.status, o.polarity) for o in said} == {(Status.UNPARSED, None)}
    (said,) = read([post(0)], **scripted(tmp_path, mumble, clear))
    assert {(o.status, o.polarity) for o in said} == {(Status.REPARSED, Polarity.NEGATIVE)}
    assert said[0].how["reasked_with"].startswith("reader/reask@")
    assert said[0].raw.startswith("well, who can say")


def test_a_reader_shows_what_it_would_ask(tmp_path):
    write_picture(tmp_path / "a.png")
    reader = make(ReaderSettings(reader="echo"), tmp_path)
    shown = reader.preview([post(0, pictures=["a.png"])])
    assert len(shown) == 2
    assert shown[0].pictures[0].startswith(str(tmp_path / "a.png"))
    assert post(0).text in shown[0].prompt
    assert shown[0].tokens > 20
    assert shown[0].cues["syntax"]


def test_a_cue_without_a_slot_in_the_prompt_is_an_error():
    with pytest.raises(UserError, match="no slot 'syntax'"):
        read([post(0)], prompt="reader/plain", cues={"syntax": {}})


def test_an_unknown_reader_is_answered_with_the_nearest_one():
    with pytest.raises(UserError, match="did you mean 'builtin'"):
        make(ReaderSettings(reader="bultin"), Path())
