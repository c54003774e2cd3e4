"""Test exports of Label Studio, and labels outside the three classes."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gen_msa.data.formats import ReadOptions, format_of_file, formats, read_file
from gen_msa.errors import InputWarning, UserError
from gen_msa.types import Example, Rejected, Status

TEXT = "\U0001f600 good tea, bad cup"


def span(start: int, end: int, text: str, *labels: str, id: str = "") -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text, "labels": list(labels)}
    return {"id": id or text, "type": "labels", "to_name": "text", "value": value}


def choice(label: str, id: str = "whole") -> dict[str, Any]:
    return {"id": id, "type": "choices", "value": {"choices": [label]}}


def task(*results: dict[str, Any], **annotation: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "data": {"text": TEXT, "shop": "A"},
        "annotations": [{"id": 1, "result": list(results), **annotation}],
    }


def read(path: Path, *tasks: dict[str, Any], **columns: str) -> list[Example | Rejected]:
    path.write_text(json.dumps(tasks, indent=2), encoding="utf-8")
    file_format = format_of_file(path)
    assert file_format is formats["label_studio"]
    return list(read_file(path, file_format, ReadOptions(columns)))


def labels_of(row: Example | Rejected) -> dict[tuple[str, int | None], str | None]:
    assert isinstance(row, Example), row
    return {(o.aspect.term, o.aspect.start): o.polarity or o.raw for o in row.opinions_by("gold")}


def test_spans_in_utf16_units_and_whole_post_choice_are_labels(tmp_path: Path) -> None:
    labelled = task(
        span(8, 11, "tea", "positive"), span(17, 20, "cup", "Negative"), choice("neutral")
    )
    (row,) = read(tmp_path / "a.json", labelled)
    assert labels_of(row) == {
        ("tea", 7): "positive",
        ("cup", 16): "negative",
        ("", None): "neutral",
    }
    assert isinstance(row, Example)
    assert (row.post.id, row.post.text, row.post.meta) == ("7", TEXT, {"shop": "A"})


def test_choice_of_a_region_labels_its_span(tmp_path: Path) -> None:
    (row,) = read(
        tmp_path / "a.json",
        task(span(8, 11, "tea", "ASPECT", id="r1"), choice("Positive", id="r1")),
    )
    assert labels_of(row) == {("tea", 7): "positive"}


def test_two_labels_of_one_span_are_a_conflict_and_other_spans_keep_theirs(tmp_path: Path) -> None:
    results = [span(8, 11, "tea", "positive", id="r1"), span(8, 11, "tea", "negative", id="r2")]
    (row,) = read(tmp_path / "a.json", task(*results, span(17, 20, "cup", "negative")))
    assert labels_of(row) == {("tea", 7): "conflict", ("cup", 16): "negative"}


def test_span_that_is_not_at_its_offsets_rejects_the_task(tmp_path: Path) -> None:
    good, bad = task(span(8, 11, "tea", "positive")), task(span(3, 6, "tea", "positive"))
    first, second = read(tmp_path / "a.json", good, bad)
    assert isinstance(first, Example)
    assert isinstance(second, Rejected)
    assert "'tea' is not at 3-6" in second.reason


def test_second_annotation_has_an_annotator_of_its_own_and_ground_truth_is_gold(
    tmp_path: Path,
) -> None:
    record = task(span(8, 11, "tea", "positive"), completed_by=3)
    truth = {"result": [span(8, 11, "tea", "negative")], "ground_truth": True}
    dropped = {"result": [span(8, 11, "tea", "neutral")], "was_cancelled": True}
    (row,) = read(
        tmp_path / "a.json", {**record, "annotations": [*record["annotations"], truth, dropped]}
    )
    assert isinstance(row, Example)
    by_annotator = {o.annotator: o.polarity for o in row.opinions}
    assert by_annotator == {"gold": "negative", "annotator_3": "positive"}


def test_results_that_are_not_read_are_counted(tmp_path: Path) -> None:
    rating = {"type": "rating", "value": {"rating": 4}}
    with pytest.warns(InputWarning, match=r"not read: rating \(2\), choice 'spam' \(1\)"):
        (row,) = read(tmp_path / "a.json", task(rating, rating, choice("spam")))
    assert isinstance(row, Example)
    assert row.opinions == ()


def test_keys_of_text_and_image_can_be_mapped(tmp_path: Path) -> None:
    data = {"body": TEXT, "photo_file": "/data/local-files/?d=img/a.jpg"}
    record = {**task(span(8, 11, "tea", "positive")), "data": data}
    (row,) = read(tmp_path / "a.json", record, text="body", image="photo_file")
    assert isinstance(row, Example)
    assert [m.path for m in row.post.media] == ["img/a.jpg"]
    with pytest.raises(UserError, match="takes polarity from annotations"):
        read(tmp_path / "a.json", record, polarity="body")


@pytest.mark.parametrize(
    "row",
    [
        {
            "aspects": [
                {"term": "tea", "polarity": "conflict"},
                {"term": "cup", "polarity": "negative"},
            ]
        },
        {"label": [[7, 10, "conflict"], [16, 19, "negative"]]},
        {"label": [[7, 10, "positive"], [7, 10, "negative"], [16, 19, "negative"]]},
    ],
)
def test_conflict_costs_one_label_not_the_post(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": TEXT, **row}), encoding="utf-8")
    with pytest.warns(InputWarning, match=r"'conflict' \(1\); their aspects have no polarity"):
        (example,) = formats["jsonl"].read(path)
    assert labels_of(example) == {("tea", 7): "conflict", ("cup", 16): "negative"}
    assert isinstance(example, Example)
    assert [o.status for o in example.opinions] == [Status.UNPARSED, Status.OK]


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_conflict_of_a_flat_row_does_not_cost_the_post(name: str, tmp_path: Path) -> None:
    rows = [
        {"text": TEXT, "aspect": "tea", "polarity": "Conflict"},
        {"text": "Other", "aspect": "Other", "polarity": "positive"},
    ]
    path = tmp_path / f"a.{name}"
    if name == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif name == "csv":
        cells = [list(rows[0]), *(list(row.values()) for row in rows)]
        lines = (",".join(f'"{cell}"' for cell in row) for row in cells)
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.warns(InputWarning, match=r"'Conflict' \(1\); their aspects have no polarity"):
        post, other = formats[name].read(path)
    assert labels_of(post) == {("tea", 7): "Conflict"}
    assert labels_of(other) == {("Other", 0): "positive"}


def test_span_of_json_lines_that_is_not_at_its_offsets_is_rejected(tmp_path: Path) -> None:
    bad = {"text": TEXT, "label": [{"start": 0, "end": 3, "text": "tea", "labels": ["positive"]}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(bad), encoding="utf-8")
    (row,) = formats["jsonl"].read(tmp_path / "a.jsonl")
    assert isinstance(row, Rejected)
    assert "'tea' is not at 0-3" in row.reason


def test_label_outside_the_classes_of_joint_json_costs_one_label(tmp_path: Path) -> None:
    aspects = [
        {"from": 0, "to": 1, "polarity": "POS", "term": ["tea"]},
        {"from": 1, "to": 2, "polarity": "conflict", "term": ["cup"]},
    ]
    record = {"words": ["tea", "cup"], "image_id": "a.jpg", "aspects": aspects}
    (tmp_path / "a.json").write_text(json.dumps([record]), encoding="utf-8")
    (row,) = formats["joint_json"].read(tmp_path / "a.json")
    assert labels_of(row) == {("tea", 0): "positive", ("cup", 4): "conflict"}
