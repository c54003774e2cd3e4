"""Test simple rows in JSON lines and Parquet: ids, images, aspects, labels, meta."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data.formats import formats
from gen_msa.data.formats._common import locate_aspects
from gen_msa.errors import InputWarning, UserError
from gen_msa.spans import fold
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Post, Rejected
from tests.data.builders import gold_opinion, image_media


def read(path: Path, *lines: str) -> list[Example | Rejected]:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(formats["jsonl"].read(path))


def read_one(path: Path, line: str) -> Example:
    (row,) = read(path, line)
    assert isinstance(row, Example), row
    return row


def test_missing_id_is_file_stem_and_line_number(tmp_path: Path) -> None:
    rows = read(tmp_path / "mine.jsonl", '{"text": "tea"}', "", '{"text": "", "id": 7}')
    assert [r.post for r in rows if isinstance(r, Example)] == [
        Post(id="mine-1", text="tea"),
        Post(id="7", text=""),
    ]


@pytest.mark.parametrize(
    "row",
    [
        '{"id": "1", "text": "tea", "image": "a.jpg"}',
        '{"id": "1", "text": "tea", "images": ["a.jpg"]}',
        '{"id": "1", "text": "tea", "images": "a.jpg", "image": null}',
        '{"id": "1", "text": "tea", "media": [{"kind": "image", "path": "a.jpg"}]}',
    ],
)
def test_image_field_accepts_all_spellings(row: str, tmp_path: Path) -> None:
    assert read_one(tmp_path / "m.jsonl", row).post == Post(
        id="1", text="tea", media=image_media("a.jpg")
    )


def test_aspects_are_located_in_order_of_mention(tmp_path: Path) -> None:
    row = '{"text": "tea, Tea, tea", "aspects": ["tea", "Tea", "tea", "wine"]}'
    assert read_one(tmp_path / "m.jsonl", row).post.aspects == (
        Aspect(term="tea", start=0),
        Aspect(term="Tea", start=5),
        Aspect(term="tea", start=10),
        Aspect(term="wine"),
    )


def test_explicit_start_is_used_and_null_means_unlocated(tmp_path: Path) -> None:
    aspects = '[{"term": "tea", "start": 4}, {"term": "tea", "start": null}]'
    row = f'{{"text": "tea tea", "aspects": {aspects}}}'
    assert read_one(tmp_path / "m.jsonl", row).post.aspects == (
        Aspect(term="tea", start=4),
        Aspect(term="tea"),
    )


def test_labels_become_gold_opinions_and_extra_keys_meta(tmp_path: Path) -> None:
    aspects = '[{"term": "tea", "polarity": "positive"}]'
    row = f'{{"text": "tea", "polarity": "Neutral", "likes": 3, "aspects": {aspects}}}'
    example = read_one(tmp_path / "m.jsonl", row)
    assert example.opinions == (
        gold_opinion(Aspect(term="tea", start=0), "positive"),
        gold_opinion(OVERALL_ASPECT, "neutral"),
    )
    assert example.post.meta == {"likes": 3}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"tekst": "tea"}', "no text and no image"),
        ('{"text": 3}', "text: Input should be a valid string"),
        ('{"text": "tea", "aspects": [{"term": "tea", "start": 1}]}', "is not at 1"),
        ('{"text": "tea", "aspects": ["tea", "wine", "wine"]}', "listed twice"),
        ('{"text": "tea", "polarity": "superb"}', "polarity: 'superb' is none of"),
        ('{"text": "tea", "likes": 1, "meta": {"likes": 2}}', "both in the row and in its meta"),
        ('{"post": {"text": "tea"}}', "post.id: Field required"),
        ('{"post": {"id": "1", "text": "tea", "mood": 1}}', "post.mood: Extra inputs"),
        ("[1, 2]", "row"),
        ("tea", "Invalid JSON"),
    ],
)
def test_bad_line_is_rejected_with_reason(row: str, reason: str, tmp_path: Path) -> None:
    accepted, rejected, also_accepted = read(
        tmp_path / "m.jsonl", '{"text": "a"}', row, '{"text": "b"}'
    )
    assert isinstance(accepted, Example)
    assert isinstance(also_accepted, Example)
    assert isinstance(rejected, Rejected)
    assert (rejected.line, rejected.raw) == (2, row)
    assert reason in rejected.reason


@pytest.mark.parametrize(
    ("key", "intended"),
    [
        ("picture", "image"),
        ("Pictures", "images"),
        ("image_url", "image"),
        ("aspect_terms", "aspects"),
        ("polarty", "polarity"),
        ("texts", "text"),
    ],
)
def test_near_miss_key_is_rejected_by_name(key: str, intended: str, tmp_path: Path) -> None:
    (rejected,) = read(tmp_path / "m.jsonl", f'{{"text": "tea", "{key}": "a"}}')
    assert isinstance(rejected, Rejected)
    assert f"unknown key {key!r}: did you mean {intended!r}?" in rejected.reason
    meta = read_one(tmp_path / "m.jsonl", f'{{"text": "tea", "meta": {{"{key}": "a"}}}}').post.meta
    assert meta == {key: "a"}


@pytest.mark.parametrize("key", ["caption", "ImageID", "image_id", "label", "time", "lang"])
def test_other_keys_are_not_near_misses(key: str, tmp_path: Path) -> None:
    assert read_one(tmp_path / "m.jsonl", f'{{"text": "tea", "{key}": "a"}}').post.meta == {
        key: "a"
    }


def test_byte_order_mark_is_stripped(tmp_path: Path) -> None:
    assert read_one(tmp_path / "m.jsonl", '\ufeff{"text": "tea"}').post.text == "tea"


def test_simple_parquet_rows_are_read_like_jsonl_rows(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    rows = [
        {"text": "tea tea", "aspects": ["tea", "tea"], "image": "a.jpg", "likes": 3},
        {"text": None, "aspects": None, "image": None, "likes": None},
        {"text": "soup", "aspects": None, "image": None, "likes": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    first, rejected, last = formats["parquet"].read(path)
    assert isinstance(first, Example)
    assert (first.post.id, first.post.meta) == ("mine-1", {"likes": 3})
    assert [a.start for a in first.post.aspects] == [0, 4]
    assert isinstance(rejected, Rejected)
    assert (rejected.line, "text" in rejected.reason) == (2, True)
    assert last == Example(post=Post(id="mine-3", text="soup"))


def test_invalid_parquet_or_missing_text_column_raises(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        list(formats["parquet"].read(path))
    pq.write_table(pa.Table.from_pylist([{"words": "tea"}]), path)
    with pytest.raises(UserError, match="no column 'text'"):
        list(formats["parquet"].read(path))


def test_damaged_row_group_is_rejected_and_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    posts = [Example(post=Post(id=str(i), text=f"tea {i * 7919}")) for i in range(1200)]
    formats["parquet"].write(path, posts)
    offset = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    raw = bytearray(path.read_bytes())
    raw[offset + 30 : offset + 90] = bytes(60)
    path.write_bytes(raw)
    rows = list(formats["parquet"].read(path))
    rejected = [r for r in rows if isinstance(r, Rejected)]
    assert len(rejected) == 1
    assert "rows 501 to 1000 cannot be read" in rejected[0].reason
    assert [r for r in rows if isinstance(r, Example)] == posts[:500] + posts[1000:]


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=5))
def test_locate_aspects_returns_true_and_unique_offsets(text: str, terms: list[str]) -> None:
    aspects = locate_aspects(text, terms)
    assert [fold(a.term) for a in aspects] == [fold(t) for t in terms]
    located = [a for a in aspects if a.start is not None]
    assert all(text[a.start : a.end] == a.term for a in located)
    assert len({(a.start, a.end) for a in located}) == len(located)


FLAT_TEXT = "good tea, bad cup"


@pytest.mark.parametrize(
    "keys", [("aspect", "polarity"), ("span", "label"), ("target", "sentiment"), ("term", "label")]
)
@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_flat_rows_of_a_post_are_joined(
    keys: tuple[str, str], has_id: bool, suffix: str, tmp_path: Path
) -> None:
    labels = {"tea": "positive", "cup": "negative"}
    rows = [
        {"text": FLAT_TEXT, keys[0]: aspect, keys[1]: label} | ({"id": "7"} if has_id else {})
        for aspect, label in labels.items()
    ]
    path = tmp_path / f"m.{suffix}"
    if suffix == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (example,) = formats[suffix].read(path)
    assert isinstance(example, Example)
    assert {o.aspect.term: o.polarity for o in example.opinions} == labels
    assert [a.start for a in example.post.aspects] == [5, 14]


def test_flat_row_with_another_label_is_rejected(tmp_path: Path) -> None:
    row = json.dumps({"text": FLAT_TEXT, "aspect": "tea", "polarity": "lukewarm"})
    (rejected,) = read(tmp_path / "m.jsonl", row)
    assert isinstance(rejected, Rejected)
    assert "lukewarm" in rejected.reason


def test_ordinal_of_setfit_chooses_the_mention(tmp_path: Path) -> None:
    row = {"text": "tea and tea", "span": "tea", "label": "negative", "ordinal": 1}
    example = read_one(tmp_path / "m.jsonl", json.dumps(row))
    assert example.opinions[0].aspect.start == 8


@pytest.mark.parametrize("ordinal", ["7", "999999999", "²", "-1", None, 1.5, True])
def test_ordinal_without_a_mention_gives_no_offset(ordinal: Any, tmp_path: Path) -> None:
    row = {"text": "no", "span": "tea", "label": "negative", "ordinal": ordinal}
    aspect = read_one(tmp_path / "m.jsonl", json.dumps(row)).opinions[0].aspect
    assert (aspect.term, aspect.start) == ("tea", None)


def test_parquet_row_without_its_aspect_is_read_on(tmp_path: Path) -> None:
    rows = [
        {"text": "good tea", "span": span, "label": "positive", "ordinal": 0}
        for span in ("tea", None)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    first, second = formats["parquet"].read(tmp_path / "m.parquet")
    assert isinstance(first, Example)
    assert first.opinions[0].aspect == Aspect(term="tea", start=5)
    assert isinstance(second, Example | Rejected)


@pytest.mark.parametrize("key", ["category", "aspect_category", "span", "term"])
def test_label_beside_an_unread_topic_is_not_that_of_the_post(key: str, tmp_path: Path) -> None:
    topic: Any = "food" if "category" in key else ["food"]
    row = json.dumps({"text": FLAT_TEXT, key: topic, "polarity": "positive"})
    (rejected,) = read(tmp_path / "m.jsonl", row)
    assert isinstance(rejected, Rejected)
    assert f"polarity stands beside {key!r}" in rejected.reason
    assert read_one(tmp_path / "m.jsonl", json.dumps({"text": FLAT_TEXT, key: topic}))


def test_csv_label_beside_a_category_is_not_that_of_the_post(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("text,category,polarity\ntea,food,positive\ntea,,positive\n")
    rejected, accepted = formats["csv"].read(tmp_path / "m.csv")
    assert isinstance(rejected, Rejected)
    assert "'category'" in rejected.reason
    assert isinstance(accepted, Example)


@pytest.mark.parametrize(
    "spans",
    [
        {"label": [[5, 8, "positive"], [14, 17, "negative"]]},
        {"entities": [{"start_offset": 5, "end_offset": 8, "label": "positive", "id": 1}]},
        {"label": [{"start": 5, "end": 8, "text": "tea", "labels": ["positive"]}]},
    ],
)
def test_spans_of_annotation_tools_become_aspects(spans: Any, tmp_path: Path) -> None:
    example = read_one(tmp_path / "m.jsonl", json.dumps({"text": FLAT_TEXT, **spans}))
    assert example.opinions[0].aspect.start == 5
    assert example.opinions[0].polarity == "positive"


def test_offsets_in_utf16_units_are_converted(tmp_path: Path) -> None:
    span = {"start": 8, "end": 11, "text": "tea", "labels": ["positive"]}
    row = json.dumps({"text": "\U0001f600 good tea", "label": [span]})
    assert read_one(tmp_path / "m.jsonl", row).opinions[0].aspect.start == 7


@pytest.mark.parametrize("key", ["label", "labels", "airline_sentiment", "entities"])
def test_keys_that_look_like_labels_are_announced(key: str, tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match=f"'{key}' looks like a label and was not read"):
        example = read_one(tmp_path / "m.jsonl", json.dumps({"text": FLAT_TEXT, key: "good"}))
    assert (example.opinions, example.post.meta) == ((), {key: "good"})
    (tmp_path / "m.csv").write_text(f"text,{key}\ntea,good\n")
    with pytest.warns(InputWarning, match=f"'{key}' looks like a label and was not read"):
        (row,) = formats["csv"].read(tmp_path / "m.csv")
    assert isinstance(row, Example)
    assert (row.opinions, row.post.meta) == ((), {key: "good"})


@pytest.mark.parametrize(
    ("column", "intended"),
    [("image_path", "image"), ("texts", "text"), ("img_path", "image"), ("aspect_terms", "aspect")],
)
def test_columns_that_look_like_others_are_announced(
    column: str, intended: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(f"text,{column}\ntea,a.jpg\n")
    with pytest.warns(InputWarning, match=f"'{column}' is not read; did you mean '{intended}'"):
        (row,) = formats["csv"].read(tmp_path / "m.csv")
    assert isinstance(row, Example)
    assert (row.post.media, row.post.meta) == ((), {column: "a.jpg"})


def test_row_with_an_image_needs_no_text(tmp_path: Path) -> None:
    for text in ("", ', "text": null'):
        post = read_one(tmp_path / "m.jsonl", f'{{"id": "1", "image": "a.jpg"{text}}}').post
        assert post == Post(id="1", text="", media=image_media("a.jpg"))


@pytest.mark.parametrize("more", ["", ', "aspect": "tea", "polarity": "positive"'])
def test_row_without_text_is_rejected_with_the_key_of_its_text(more: str, tmp_path: Path) -> None:
    row = f'{{"asin": "B0", "reviewText": "Good tea, bad cup"{more}}}'
    (rejected,) = read(tmp_path / "m.jsonl", row)
    assert isinstance(rejected, Rejected)
    assert rejected.reason.endswith(
        "no text and no image; if 'reviewText' is the text: --map text=reviewText"
    )
