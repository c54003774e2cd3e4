"""Test chats: the turns that trainers get, edited chats, and chats from elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from gen_msa.data.formats import format_of_file, formats
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post, Rejected, Status
from tests.data.builders import gold_opinion, image_media, plain_example


def read(name: str, path: Path, records: list[dict[str, Any]]) -> list[Example | Rejected]:
    path.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    as_lines = list(formats[name].read(path))
    path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    as_array = list(formats[name].read(path))
    assert [r for r in as_lines if isinstance(r, Example)] == [
        r for r in as_array if isinstance(r, Example)
    ]
    return as_array


def write_and_load(name: str, path: Path, examples: list[Example]) -> list[dict[str, Any]]:
    formats[name].write(path, examples)
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(x) for x in text.splitlines()]


def example_with_explanation() -> Example:
    opinion = plain_example().opinions[0].model_copy(update={"explanation": "It was hot."})
    return Example(post=plain_example().post, opinions=(opinion,))


def test_messages_format_has_image_parts_and_aspect_on_last_line(tmp_path: Path) -> None:
    first, second = write_and_load("messages", tmp_path / "a.jsonl", [example_with_explanation()])
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


def test_llava_and_sharegpt_write_one_placeholder_per_image(tmp_path: Path) -> None:
    media = (Media(kind="image", path="a.jpg"), Media(kind="image", path="b.jpg"))
    post = Post(id="1", text="tea", media=media)
    examples = [
        Example(post=post, opinions=(Opinion(annotator="gold", polarity=Polarity.NEUTRAL),))
    ]
    (llava,) = write_and_load("llava", tmp_path / "a.json", examples)
    assert llava["image"] == ["a.jpg", "b.jpg"]
    assert llava["conversations"] == [
        {"from": "human", "value": "<image>\n<image>\ntea"},
        {"from": "gpt", "value": "neutral"},
    ]
    (sharegpt,) = write_and_load("sharegpt", tmp_path / "b.json", examples)
    assert sharegpt["images"] == ["a.jpg", "b.jpg"]
    assert sharegpt["messages"][0] == {"role": "user", "content": "<image>\n<image>\ntea"}


def test_second_mention_of_term_is_numbered(tmp_path: Path) -> None:
    aspects = (Aspect(term="tea", start=0), Aspect(term="tea", start=9))
    post = Post(id="1", text="tea, not tea", aspects=aspects)
    records = write_and_load("llava", tmp_path / "a.json", [Example(post=post)])
    texts = [r["conversations"][0]["value"] for r in records]
    assert [s.partition("Aspect: ")[2] for s in texts] == ["tea", "tea (mention 2)"]


def test_records_of_a_post_may_be_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first, second = write_and_load("messages", path, [plain_example()])
    assert read("messages", path, [second]) == [
        Example(post=plain_example().post, opinions=plain_example().opinions[1:])
    ]
    assert read("messages", path, [first, second]) == [plain_example()]


def test_edited_chat_is_rejected_unless_gen_msa_field_is_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    (first, _) = write_and_load("llava", path, [plain_example()])
    first["conversations"][1]["value"] = "neutral"
    (rejected,) = read("llava", path, [first])
    assert isinstance(rejected, Rejected)
    assert "gen_msa differ" in rejected.reason
    del first["gen_msa"]
    (accepted,) = read("llava", path, [first])
    assert isinstance(accepted, Example)
    assert accepted.opinions[0].polarity is Polarity.NEUTRAL


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
def test_foreign_chat_becomes_post_with_gold_opinion(
    name: str, record: dict[str, Any], tmp_path: Path
) -> None:
    (row,) = read(name, tmp_path / "a.json", [record])
    opinion = Opinion(annotator="gold", polarity=Polarity.POSITIVE, raw="Positive.")
    post = Post(id="a-1", text="What a cup!", media=image_media("a.jpg"))
    assert row == Example(post=post, opinions=(opinion,))
    path = tmp_path / "again.json"
    formats[name].write(path, [row])
    assert list(formats[name].read(path)) == [row]


TERRACE = [{"type": "text", "text": "What a cup!"}]
ANSWER = {"role": "assistant", "content": "Positive."}


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "image_url", "image_url": {"url": "a.jpg"}}, "a.jpg"),
        (
            {"type": "image_url", "image_url": "data:image/png;base64,A"},
            "data:image/png;base64,A",
        ),
        ({"type": "input_image", "image_url": "https://x.org/a.jpg"}, "https://x.org/a.jpg"),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "A"},
            },
            "data:image/png;base64,A",
        ),
        ({"type": "image", "url": "a.jpg"}, "a.jpg"),
    ],
)
def test_image_parts_of_chat_apis_are_read(part: Any, path: str, tmp_path: Path) -> None:
    record = {"messages": [{"role": "user", "content": [*TERRACE, part]}, ANSWER]}
    (row,) = read("messages", tmp_path / "a.json", [record])
    assert isinstance(row, Example), row
    assert (row.post.text, [m.path for m in row.post.media]) == ("What a cup!", [path])


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": [{"role": "user", "content": "What a cup!"}], "completion": [ANSWER]},
        {"prompt": "What a cup!", "completion": "Positive."},
        {"query": "What a cup!", "response": "Positive.", "history": []},
        {"query": "<image>What a cup!", "response": "Positive.", "images": ["a.jpg"]},
        {"instruction": "What a cup!", "input": "", "output": "Positive."},
        {"instruction": "Which sentiment?", "input": "What a cup!", "output": "Positive."},
    ],
)
def test_question_and_answer_are_read_as_turns(record: dict[str, Any], tmp_path: Path) -> None:
    (row,) = read("messages", tmp_path / "a.json", [record])
    assert isinstance(row, Example), row
    assert row.post.text == "What a cup!"
    assert [o.polarity for o in row.opinions] == [Polarity.POSITIVE]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert format_of_file(path) is formats["messages"]


def test_earlier_questions_and_instructions_are_in_meta(tmp_path: Path) -> None:
    swift = {"query": "tea", "response": "neutral", "system": "Be brief.", "history": [["a", "b"]]}
    alpaca = {"instruction": "Which sentiment?", "input": "tea", "output": "neutral"}
    turns = []
    for row in read("messages", tmp_path / "a.json", [swift, alpaca]):
        assert isinstance(row, Example), row
        turns.append(row.post.meta["turns"])
    assert turns == [
        [
            {"role": "system", "text": "Be brief."},
            {"role": "user", "text": "a"},
            {"role": "assistant", "text": "b"},
        ],
        [{"role": "instruction", "text": "Which sentiment?"}],
    ]


def test_image_that_each_turn_names_again_is_one_image(tmp_path: Path) -> None:
    question = {"role": "user", "content": "<image>What is this?"}
    by_tag = {"messages": [question, ANSWER, USER, ANSWER], "images": ["a.jpg"]}
    part = {"type": "image_url", "image_url": {"url": "a.jpg"}}
    turns = [{"role": "user", "content": [part, *TERRACE]}, ANSWER]
    for record in (by_tag, {"messages": turns * 2}):
        (row,) = read("messages", tmp_path / "a.json", [record])
        assert isinstance(row, Example), row
        assert (row.post.text, row.post.media) == ("What a cup!", image_media("a.jpg"))


def test_part_that_is_neither_text_nor_image_is_named(tmp_path: Path) -> None:
    turn = {"role": "user", "content": [*TERRACE, {"type": "video", "video": "a.mp4"}]}
    (row,) = read("messages", tmp_path / "a.json", [{"messages": [turn]}])
    assert isinstance(row, Rejected)
    assert "a part of type 'video'" in row.reason


def test_non_polarity_answer_becomes_unparsed(tmp_path: Path) -> None:
    chat = [USER, {"role": "assistant", "content": "It is not bad."}]
    (row,) = read("messages", tmp_path / "a.json", [{"messages": chat, "images": "a.jpg"}])
    assert isinstance(row, Example)
    assert row.opinions == (
        Opinion(annotator="gold", raw="It is not bad.", status=Status.UNPARSED),
    )


def test_earlier_turns_and_extra_keys_go_to_meta(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("human", "Hi"), ("gpt", "Hello"), ("human", "good tea")]
    chat = [{"from": role, "value": text} for role, text in turns]
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
        ({"messages": [USER], "images": []}, "1 image placeholders, but 0"),
        ({"messages": [USER], "images": ["a.jpg", "b.jpg"]}, "1 image placeholders, but 2"),
        ({"messages": [USER], "images": [{"bytes": "x"}]}, "not a path"),
        ({"messages": []}, "no user turn"),
        ({"text": "tea"}, "neither messages nor conversations"),
        ({"conversations": [{"from": "human"}]}, "no content"),
        ({"messages": "tea"}, "messages: Input should be a valid array"),
    ],
)
def test_malformed_chat_is_rejected(record: dict[str, Any], reason: str, tmp_path: Path) -> None:
    accepted = {"messages": [{"role": "user", "content": "tea"}]}
    first, rejected, last = read("messages", tmp_path / "a.json", [accepted, record, accepted])
    assert isinstance(first, Example)
    assert isinstance(last, Example)
    assert isinstance(rejected, Rejected)
    assert rejected.line == 2 or "JSON" not in rejected.reason
    assert reason in rejected.reason


def test_chat_round_trip_keeps_all_opinions_of_an_aspect(tmp_path: Path) -> None:
    aspect = plain_example().post.aspects[0]
    opinion = Opinion(
        annotator="bot", aspect=aspect, raw="who knows", status=Status.EMPTY, score=0.5
    )
    examples = [
        plain_example().with_opinions(opinion, gold_opinion(Aspect(term="soup"), "neutral"))
    ]
    path = tmp_path / "a.json"
    for name in ("messages", "llava", "sharegpt"):
        formats[name].write(path, examples)
        assert list(formats[name].read(path)) == examples
