"""Test Parquet files of others: images, class labels and chats of `datasets`, and hostile files."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gen_msa.data import open_examples
from gen_msa.data.formats import ReadOptions, formats, read_file
from gen_msa.errors import InputWarning, UserError
from gen_msa.media import ImageLimits, open_image
from gen_msa.types import Example, Post, Rejected

LABELS = {"_type": "ClassLabel", "names": ["negative", "neutral", "positive"]}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png_bytes() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(out, "PNG")
    return out.getvalue()


def write(path: Path, columns: dict[str, Any], **features: Any) -> Path:
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def read(path: Path, root: Path | None = None, **columns: str) -> list[Example]:
    rows = list(read_file(path, formats["parquet"], ReadOptions(columns, root)))
    assert all(isinstance(r, Example) for r in rows), rows
    return [r for r in rows if isinstance(r, Example)]


@pytest.mark.parametrize("layout", ["struct", "list", "binary", "other name"])
def test_embedded_images_are_stored_once_below_the_media_root(layout: str, tmp_path: Path) -> None:
    data = png_bytes()
    cells: dict[str, Any] = {
        "struct": pa.array([{"bytes": data, "path": None}] * 2, IMAGE),
        "list": pa.array([[{"bytes": data, "path": "a.png"}]] * 2, pa.list_(IMAGE)),
        "binary": pa.array([data] * 2, pa.binary()),
        "other name": pa.array([{"bytes": data, "path": None}] * 2, IMAGE),
    }
    name = {"list": "images", "other name": "scan"}.get(layout, "image")
    path = write(tmp_path / "a.parquet", {"text": ["tea", "cup"], name: cells[layout]})
    (tmp_path / "media").mkdir()
    source = open_examples(str(path), media_root=tmp_path / "media")
    rows = [r for r in source.rows() if isinstance(r, Example)]
    (media,) = {m for r in rows for m in r.post.media}
    assert len(rows) == 2
    assert (source.media_root / media.path).read_bytes() == data
    assert len(list((tmp_path / "media" / ".fetched").iterdir())) == 1
    assert open_image(media, source.media_root, ImageLimits()) is not None


def test_image_without_bytes_is_its_path(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": None, "path": "img/a.png"}, None], IMAGE)
    path = write(tmp_path / "a.parquet", {"text": ["tea", "cup"], "image": cells})
    media = [[m.path for m in e.post.media] for e in read(path)]
    assert media == [["img/a.png"], []]


def test_media_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".fetched").write_text("a file")
    cells = pa.array([{"bytes": png_bytes(), "path": None}], IMAGE)
    path = write(tmp_path / "a.parquet", {"text": ["tea"], "image": cells})
    with pytest.raises(UserError, match="cannot be stored below"):
        read(path)


def test_class_labels_are_read_by_their_names(tmp_path: Path) -> None:
    columns = {"text": ["tea", "cup", "jug"], "polarity": [2, 0, -1], "shop": [1, 0, 1]}
    shops = {"_type": "ClassLabel", "names": ["north", "south"]}
    path = write(tmp_path / "a.parquet", columns, polarity=LABELS, shop=shops)
    rows = read(path)
    assert [[o.polarity for o in e.opinions] for e in rows] == [["positive"], ["negative"], []]
    assert [e.post.meta["shop"] for e in rows] == ["south", "north", "south"]


def test_class_labels_of_nested_aspects_are_read(tmp_path: Path) -> None:
    aspects = [[{"term": "tea", "polarity": 2}, {"term": "cup", "polarity": 0}]]
    feature = [{"term": {"_type": "Value"}, "polarity": LABELS}]
    columns = {"text": ["good tea, bad cup"], "aspects": aspects}
    (row,) = read(write(tmp_path / "a.parquet", columns, aspects=feature))
    assert {o.aspect.term: o.polarity for o in row.opinions} == {
        "tea": "positive",
        "cup": "negative",
    }


def test_column_whose_classes_are_polarities_is_the_label_unless_rows_name_aspects(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "a.parquet", {"text": ["tea"], "target_class": [2]}, target_class=LABELS
    )
    with pytest.warns(InputWarning, match="'target_class' is read as polarity"):
        (row,) = read(path)
    assert [(o.aspect.term, o.polarity) for o in row.opinions] == [("", "positive")]
    flat = {"text": ["good tea"], "aspect": ["tea"], "label": [2]}
    (row,) = read(write(tmp_path / "b.parquet", flat, label=LABELS))
    assert [(o.aspect.term, o.polarity) for o in row.opinions] == [("tea", "positive")]


def test_columns_of_bytes_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = {
        "text": ["tea"],
        "blob": [b"\xff\xfe"],
        "nested": [[{"x": b"\xff"}]],
        "n": [float("nan")],
    }
    path = write(tmp_path / "a.parquet", columns)
    with pytest.warns(InputWarning, match="2 columns of bytes not read: blob, nested"):
        (row,) = read(path)
    assert (row.post.text, row.post.meta) == ("tea", {})


def test_columns_of_other_names_are_read(tmp_path: Path) -> None:
    columns = {"caption": ["tea"], "text": ["x"], "extra": [{"mood": "positive"}]}
    path = write(tmp_path / "a.parquet", columns)
    (row,) = read(path, text="caption", polarity="extra.mood")
    assert (row.post.text, row.post.meta["text"]) == ("tea", "x")
    assert row.opinions[0].polarity == "positive"
    with pytest.raises(UserError, match="no column 'captions'"):
        read(path, text="captions")


def test_chats_in_columns_are_read(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "good tea"}, {"role": "assistant", "content": "positive"}]
    image = pa.array([[{"bytes": png_bytes(), "path": None}]], pa.list_(IMAGE))
    path = write(tmp_path / "a.parquet", {"messages": [turns], "images": image})
    (row,) = read(path)
    assert (row.post.text, row.opinions[0].polarity) == ("good tea", "positive")
    assert len(row.post.media) == 1


def read_bounded(path: Path, limit: int) -> list[Example | Rejected]:
    pool = pa.default_memory_pool()
    before = pool.max_memory()
    rows = list(formats["parquet"].read(path))
    assert pool.max_memory() - before < limit
    return rows


def test_dictionary_of_one_long_text_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = pa.chunked_array([pa.array(["a" * 9_400_000])] * 500)
    pq.write_table(
        pa.table({"text": column}), path, compression="zstd", dictionary_pagesize_limit=1 << 30
    )
    assert path.stat().st_size < 2_000
    rows = read_bounded(path, 100 << 20)
    assert len(rows) == 500
    assert all(isinstance(r, Rejected) and "over the limit" in r.reason for r in rows)


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["a" * (300 << 20)]},
        {"text": ["tea"], "aspects": pa.array([[None] * 20_000_000], pa.list_(pa.string()))},
    ],
)
def test_row_group_that_grows_beyond_measure_is_rejected(columns: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False)
    (rejected,) = read_bounded(path, 100 << 20)
    assert isinstance(rejected, Rejected)
    assert "rows 1 to 1 cannot be read" in rejected.reason


def test_post_over_the_text_limit_is_not_written(tmp_path: Path) -> None:
    example = Example(post=Post(id="1", text="a" * (9 << 20)))
    with pytest.raises(UserError, match="parquet cannot store"):
        formats["parquet"].write(tmp_path / "a.parquet", [example])
