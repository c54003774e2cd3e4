"""Rows of a user's own, in JSON lines and Parquet: ids, pictures, aspects, labels, meta."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data.formats import formats
from gen_msa.data.formats._locate import locate
from gen_msa.errors import UserError
from gen_msa.types import WHOLE_POST, Aspect, Example, Post, Rejected
from tests.data.making import gold, picture


def read(path: Path, *lines: str) -> list[Example | Rejected]:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(formats["jsonl"].read(path))


def one(path: Path, line: str) -> Example:
    (row,) = read(path, line)
    assert isinstance(row, Example), row
    return row


def test_a_missing_id_is_file_and_line(tmp_path: Path) -> None:
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
def test_pictures_are_named_in_any_of_these_ways(row: str, tmp_path: Path) -> None:
    assert one(tmp_path / "m.jsonl", row).post == Post(id="1", text="tea", media=picture("a.jpg"))


def test_words_get_their_places_in_order_of_mention(tmp_path: Path) -> None:
    row = '{"text": "tea, Tea, tea", "aspects": ["tea", "Tea", "tea", "wine"]}'
    assert one(tmp_path / "m.jsonl", row).post.aspects == (
        Aspect(term="tea", start=0),
        Aspect(term="Tea", start=5),
        Aspect(term="tea", start=10),
        Aspect(term="wine"),
    )


def test_a_given_start_is_kept_and_null_means_no_place(tmp_path: Path) -> None:
    aspects = '[{"term": "tea", "start": 4}, {"term": "tea", "start": null}]'
    row = f'{{"text": "tea tea", "aspects": {aspects}}}'
    assert one(tmp_path / "m.jsonl", row).post.aspects == (
        Aspect(term="tea", start=4),
        Aspect(term="tea"),
    )


def test_labels_become_gold_opinions_and_other_keys_meta(tmp_path: Path) -> None:
    aspects = '[{"term": "tea", "polarity": "positive"}]'
    row = f'{{"text": "tea", "polarity": "Neutral", "likes": 3, "aspects": {aspects}}}'
    found = one(tmp_path / "m.jsonl", row)
    assert found.opinions == (
        gold(Aspect(term="tea", start=0), "positive"),
        gold(WHOLE_POST, "neutral"),
    )
    assert found.post.meta == {"likes": 3}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"tekst": "tea"}', "text: Field required"),
        ('{"text": 3}', "text: Input should be a valid string"),
        ('{"text": "tea", "aspects": [{"term": "tea", "start": 1}]}', "is not at 1"),
        ('{"text": "tea", "aspects": ["tea", "wine", "wine"]}', "listed twice"),
        ('{"text": "tea", "polarity": "POS"}', "polarity: Input should be"),
        ('{"text": "tea", "likes": 1, "meta": {"likes": 2}}', "both in the row and in its meta"),
        ('{"post": {"text": "tea"}}', "post.id: Field required"),
        ('{"post": {"id": "1", "text": "tea", "mood": 1}}', "post.mood: Extra inputs"),
        ("[1, 2]", "row"),
        ("tea", "Invalid JSON"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_reason(row: str, reason: str, tmp_path: Path) -> None:
    good, bad, also_good = read(tmp_path / "m.jsonl", '{"text": "a"}', row, '{"text": "b"}')
    assert isinstance(good, Example)
    assert isinstance(also_good, Example)
    assert isinstance(bad, Rejected)
    assert (bad.line, bad.raw) == (2, row)
    assert reason in bad.reason


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    assert one(tmp_path / "m.jsonl", '\ufeff{"text": "tea"}').post.text == "tea"


def test_a_parquet_table_of_ones_own_is_read_like_lines_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    rows = [
        {"text": "tea tea", "aspects": ["tea", "tea"], "image": "a.jpg", "likes": 3},
        {"text": None, "aspects": None, "image": None, "likes": None},
        {"text": "soup", "aspects": None, "image": None, "likes": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    first, bad, last = formats["parquet"].read(path)
    assert isinstance(first, Example)
    assert (first.post.id, first.post.meta) == ("mine-1", {"likes": 3})
    assert [a.start for a in first.post.aspects] == [0, 4]
    assert isinstance(bad, Rejected)
    assert (bad.line, "text" in bad.reason) == (2, True)
    assert last == Example(post=Post(id="mine-3", text="soup"))


def test_what_is_not_parquet_or_has_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        list(formats["parquet"].read(path))
    pq.write_table(pa.Table.from_pylist([{"words": "tea"}]), path)
    with pytest.raises(UserError, match="no column 'text'"):
        list(formats["parquet"].read(path))


def test_a_damaged_row_group_is_set_aside_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    posts = [Example(post=Post(id=str(i), text=f"tea {i * 7919}")) for i in range(1200)]
    formats["parquet"].write(path, posts)
    offset = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    raw = bytearray(path.read_bytes())
    raw[offset + 30 : offset + 90] = bytes(60)
    path.write_bytes(raw)
    rows = list(formats["parquet"].read(path))
    bad = [r for r in rows if isinstance(r, Rejected)]
    assert len(bad) == 1
    assert "rows 501 to 1000 cannot be read" in bad[0].reason
    assert [r for r in rows if isinstance(r, Example)] == posts[:500] + posts[1000:]


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=5))
def test_a_located_aspect_stands_where_it_says_and_no_place_is_taken_twice(
    text: str, terms: list[str]
) -> None:
    found = locate(text, terms)
    assert [a.term for a in found] == terms
    placed = [a for a in found if a.start is not None]
    assert all(text[a.start : a.end] == a.term for a in placed)
    assert len(set(placed)) == len(placed)
    assert all(a.start is not None for a in found if a.term in text and terms.count(a.term) == 1)
