"""Chats: what is shown to a trainer, what an edited chat becomes, and chats of foreign origin."""

import json
from pathlib import Path
from typing import Any

import pytest

from gen_msa.data.formats import formats
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post, Rejected, Status
from tests.data.making import gold, picture, plain


def read(name: str, path: Path, records: list[dict[str, Any]]) -> list[Example | Rejected]:
    path.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    as_lines = list(formats[name].read(path))
    path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    as_array = list(formats[name].read(path))
    assert [r for r in as_lines if isinstance(r, Example)] == [
        r for r in as_array if isinstance(r, Example)
    ]
    return as_array


def written(name: str, path: Path, found: list[Example]) -> list[dict[str, Any]]:
    formats[name].write(path, found)
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(x) for x in text.splitlines()]


def explained() -> Example:
    said = plain().opinions[0].model_copy(update={"explanation": "It was hot."})
    return Example(post=plain().post, opinions=(said,))


def test_messages_show_pictures_as_parts_and_the_aspect_on_the_last_line(tmp_path: Path) -> None:
    first, second = written("messages", tmp_path / "a.jsonl", [explained()])
    assert first["images"] == ["tea.jpg"]
    assert first["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image"},
                {"type": "text", "text": "good tea , bad cake\n\nAspect: tea"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "positive\nIt was hot."}]},
    ]
    assert [m["role"] for m in second["messages"]] == ["user"]
    assert (first["id"], second["id"]) == ("tea-1#1", "tea-1#2")


def test_llava_and_sharegpt_show_one_placeholder_a_picture(tmp_path: Path) -> None:
    two = (Media(kind="image", path="a.jpg"), Media(kind="image", path="b.jpg"))
    post = Post(id="1", text="tea", media=two)
    found = [Example(post=post, opinions=(Opinion(by="gold", polarity=Polarity.NEUTRAL),))]
    (llava,) = written("llava", tmp_path / "a.json", found)
    assert llava["image"] == ["a.jpg", "b.jpg"]
    assert llava["conversations"] == [
        {"from": "human", "value": "<image>\n<image>\ntea"},
        {"from": "gpt", "value": "neutral"},
    ]
    (share,) = written("sharegpt", tmp_path / "b.json", found)
    assert share["images"] == ["a.jpg", "b.jpg"]
    assert share["messages"][0] == {"role": "user", "content": "<image>\n<image>\ntea"}


def test_a_later_mention_is_told_from_the_first(tmp_path: Path) -> None:
    aspects = (Aspect(term="tea", start=0), Aspect(term="tea", start=9))
    post = Post(id="1", text="tea, not tea", aspects=aspects)
    records = written("llava", tmp_path / "a.json", [Example(post=post)])
    said = [r["conversations"][0]["value"] for r in records]
    assert [s.partition("Aspect: ")[2] for s in said] == ["tea", "tea (mention 2)"]


def test_some_records_of_a_post_may_be_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first, second = written("messages", path, [plain()])
    assert read("messages", path, [second]) == [
        Example(post=plain().post, opinions=plain().opinions[1:])
    ]
    assert read("messages", path, [first, second]) == [plain()]


def test_an_edited_chat_is_refused_until_the_field_of_the_house_is_dropped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    (first, _) = written("llava", path, [plain()])
    first["conversations"][1]["value"] = "neutral"
    (bad,) = read("llava", path, [first])
    assert isinstance(bad, Rejected)
    assert "gen_msa differ" in bad.reason
    del first["gen_msa"]
    (good,) = read("llava", path, [first])
    assert isinstance(good, Example)
    assert good.opinions[0].polarity is Polarity.NEUTRAL


USER = {"role": "user", "content": "<image>What a cup!"}
FOREIGN = [
    {"messages": [USER, {"role": "assistant", "content": "Positive."}], "images": ["a.jpg"]},
    {
        "image": "a.jpg",
        "conversations": [
            {"from": "human", "value": "What a cup!\n<image>"},
            {"from": "gpt", "value": "Positive."},
        ],
    },
    {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": "What a cup!"}],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Positive."}]},
        ],
        "images": [{"path": "a.jpg", "bytes": None}],
    },
    {
        "messages": [
            {"role": "user", "content": "What a cup!"},
            {"role": "assistant", "content": "Positive."},
        ],
        "images": ["a.jpg"],
    },
]


@pytest.mark.parametrize("name", ["messages", "llava", "sharegpt"])
@pytest.mark.parametrize("record", FOREIGN)
def test_a_foreign_chat_is_a_post_and_a_gold_opinion(
    name: str, record: dict[str, Any], tmp_path: Path
) -> None:
    (row,) = read(name, tmp_path / "a.json", [record])
    said = Opinion(by="gold", polarity=Polarity.POSITIVE, raw="Positive.")
    post = Post(id="a-1", text="What a cup!", media=picture("a.jpg"))
    assert row == Example(post=post, opinions=(said,))
    path = tmp_path / "again.json"
    formats[name].write(path, [row])
    assert list(formats[name].read(path)) == [row]


def test_an_answer_that_is_no_polarity_is_kept_unread(tmp_path: Path) -> None:
    chat = [USER, {"role": "assistant", "content": "It is not bad."}]
    (row,) = read("messages", tmp_path / "a.json", [{"messages": chat, "images": "a.jpg"}])
    assert isinstance(row, Example)
    assert row.opinions == (Opinion(by="gold", raw="It is not bad.", status=Status.UNPARSED),)


def test_earlier_turns_and_other_keys_go_to_meta(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("human", "Hi"), ("gpt", "Hello"), ("human", "good tea")]
    chat = [{"from": who, "value": text} for who, text in turns]
    (row,) = read(
        "sharegpt", tmp_path / "a.json", [{"id": 5, "conversations": chat, "city": "Rome"}]
    )
    assert isinstance(row, Example)
    assert (row.post.id, row.post.text, row.opinions) == ("5", "good tea", ())
    assert row.post.meta == {
        "city": "Rome",
        "turns": [
            {"role": "system", "text": "Be brief."},
            {"role": "user", "text": "Hi"},
            {"role": "assistant", "text": "Hello"},
        ],
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [USER], "images": []}, "1 places for pictures, but 0"),
        ({"messages": [USER], "images": ["a.jpg", "b.jpg"]}, "1 places for pictures, but 2"),
        ({"messages": [USER], "images": [{"bytes": "x"}]}, "no path"),
        ({"messages": []}, "no user turn"),
        ({"text": "tea"}, "neither messages nor conversations"),
        ({"conversations": [{"from": "human"}]}, "without content"),
        ({"messages": "tea"}, "messages: Input should be a valid array"),
    ],
)
def test_a_chat_that_cannot_be_read_is_set_aside(
    record: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = {"messages": [{"role": "user", "content": "tea"}]}
    first, bad, last = read("messages", tmp_path / "a.json", [good, record, good])
    assert isinstance(first, Example)
    assert isinstance(last, Example)
    assert isinstance(bad, Rejected)
    assert bad.line == 2 or "JSON" not in bad.reason
    assert reason in bad.reason


def test_a_chat_about_an_aspect_keeps_everything_said(tmp_path: Path) -> None:
    aspect = plain().post.aspects[0]
    said = Opinion(by="bot", aspect=aspect, raw="who knows", status=Status.EMPTY, score=0.5)
    found = [plain().adding(said, gold(Aspect(term="soup"), "neutral"))]
    path = tmp_path / "a.json"
    for name in ("messages", "llava", "sharegpt"):
        formats[name].write(path, found)
        assert list(formats[name].read(path)) == found
