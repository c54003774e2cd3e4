"""Test Twitter rows: the offset of the marker, joined rows, both file formats."""

from pathlib import Path

import pytest

from gen_msa.data.formats import formats
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Polarity, Rejected
from tests.data.builders import gold_opinion, image_media, plain_example

HEADER = "index\t#1 Label\t#2 ImageID\t#3 String\t#3 String"
ROWS = [
    "1\t2\t7.jpg\ttea beats $T$\ttea",
    "2\t0\t7.jpg\t$T$ beats tea\ttea",
    "3\t1\t8.jpg\tcake at $T$\tNoon",
]


def read(name: str, path: Path, lines: list[str]) -> tuple[list[Example], list[Rejected]]:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = list(formats[name].read(path))
    accepted = [r for r in rows if isinstance(r, Example)]
    return accepted, [r for r in rows if isinstance(r, Rejected)]


def test_aspect_offset_comes_from_marker(
    tmp_path: Path,
) -> None:
    accepted, rejected = read("tombert_tsv", tmp_path / "dev.tsv", [HEADER, *ROWS])
    assert rejected == []
    first, second = accepted
    assert first.post.text == "tea beats tea"
    assert first.post.aspects == (Aspect(term="tea", start=10), Aspect(term="tea", start=0))
    assert first.opinions == (
        gold_opinion(Aspect(term="tea", start=10), "positive"),
        gold_opinion(Aspect(term="tea", start=0), "negative"),
    )
    assert first.post.media == image_media("7.jpg")
    assert (first.post.id, second.post.id) == ("7-1", "8-2")


def test_tsv_and_txt_give_equal_examples(tmp_path: Path) -> None:
    lines = ["tea beats $T$ ", "tea", "1", "7.jpg", " $T$ beats tea", "tea", "-1", "7.jpg"]
    lines += ["cake at $T$ ", "Noon", "0", "8.jpg"]
    from_text, rejected = read("tombert_txt", tmp_path / "dev.txt", lines)
    assert rejected == []
    assert from_text == read("tombert_tsv", tmp_path / "dev.tsv", [HEADER, *ROWS])[0]


def test_header_length_is_ignored(tmp_path: Path) -> None:
    full = read("tombert_tsv", tmp_path / "a.tsv", [HEADER, *ROWS])
    short = read("tombert_tsv", tmp_path / "b.tsv", ["index\t#1 ImageID\t#2 String", *ROWS])
    without_header = read("tombert_tsv", tmp_path / "c.tsv", ROWS)
    assert full == short == without_header


def test_equal_post_later_in_file_is_a_separate_post(tmp_path: Path) -> None:
    accepted, rejected = read(
        "tombert_tsv", tmp_path / "dev.tsv", [HEADER, ROWS[0], ROWS[2], ROWS[0]]
    )
    assert rejected == []
    assert [e.post.id for e in accepted] == ["7-1", "8-2", "7-3"]
    assert accepted[0].opinions == accepted[2].opinions


def test_repeated_aspect_and_contradicting_labels_are_rejected(
    tmp_path: Path,
) -> None:
    repeated = "9\t2\t7.jpg\ttea beats $T$\ttea"
    contradicting = "9\t0\t7.jpg\ttea beats $T$\ttea"
    accepted, rejected = read(
        "tombert_tsv", tmp_path / "a.tsv", [HEADER, ROWS[0], repeated, ROWS[1]]
    )
    assert len(accepted[0].post.aspects) == 2
    assert [(r.line, "same label" in r.reason) for r in rejected] == [(3, True)]
    accepted, rejected = read(
        "tombert_tsv", tmp_path / "b.tsv", [HEADER, ROWS[0], contradicting, ROWS[1]]
    )
    assert accepted[0].post.aspects == (Aspect(term="tea", start=0),)
    assert [(r.line, "different labels" in r.reason) for r in rejected] == [(2, True), (3, True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1\t1\t7.jpg\tno marker\ttea", "0 markers"),
        ("1\t1\t7.jpg\t$T$ and $T$\ttea", "2 markers"),
        ("1\t3\t7.jpg\t$T$\ttea", "label '3'"),
        ("1\t1\t7.jpg\t$T$", "4 cells"),
        ("1\t1\t7.jpg\t$T$\ttea\tx", "6 cells"),
        ("1\t1\t7.jpg\t$T$\t ", "aspect is empty"),
        ("1\t1\t \t$T$\ttea", "image is missing"),
    ],
)
def test_broken_row_is_rejected_with_line_and_reason(row: str, reason: str, tmp_path: Path) -> None:
    accepted, rejected = read("tombert_tsv", tmp_path / "dev.tsv", [HEADER, ROWS[0], row, ROWS[1]])
    assert [len(e.post.aspects) for e in accepted] == [2]
    assert [(r.line, r.raw) for r in rejected] == [(3, row)]
    assert reason in rejected[0].reason
    assert rejected[0].hint


RECORDS = [
    ["a $T$", "tea", "1", "1.jpg"],
    ["b $T$", "1", "0", "2.jpg"],
    ["c $T$", "x", "-1", "3.jpg"],
]


@pytest.mark.parametrize("missing_line", range(4))
@pytest.mark.parametrize("damaged_record", range(3))
def test_missing_line_does_not_shift_later_records(
    missing_line: int, damaged_record: int, tmp_path: Path
) -> None:
    records = [list(r) for r in RECORDS]
    del records[damaged_record][missing_line]
    accepted, rejected = read("tombert_txt", tmp_path / "dev.txt", [x for r in records for x in r])
    expected = [r for i, r in enumerate(RECORDS) if i != damaged_record]
    assert [e.post.text for e in accepted] == [r[0].replace("$T$", r[1]) for r in expected]
    assert [o.polarity for e in accepted for o in e.opinions] == [
        {"1": Polarity.POSITIVE, "0": Polarity.NEUTRAL, "-1": Polarity.NEGATIVE}[r[2]]
        for r in expected
    ]
    assert [r.line for r in rejected] == [4 * damaged_record + 1]


def test_txt_record_with_bad_label_or_marker_is_rejected(tmp_path: Path) -> None:
    bad_label = ["b $T$", "x", "2", "2.jpg"]
    no_marker = ["b", "x", "1", "2.jpg"]
    lines = [*RECORDS[0], *bad_label, *RECORDS[1], *no_marker, *RECORDS[2]]
    accepted, rejected = read("tombert_txt", tmp_path / "dev.txt", lines)
    assert len(accepted) == 3
    assert [r.line for r in rejected] == [5, 13]


def test_explicit_ids_are_stored_in_index_column(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    examples = [plain_example("17"), plain_example("tea-2"), plain_example("x")]
    formats["tombert_tsv"].write(path, examples)
    assert (
        path.read_text().splitlines()[1].startswith("id=17\t2\ttea.jpg\tgood $T$ , bad cake\ttea")
    )
    assert path.read_text().splitlines()[3].startswith("3\t2\t")
    assert list(formats["tombert_tsv"].read(path)) == examples
    with pytest.raises(UserError, match=r"tombert_txt cannot store post\.id of post '17'"):
        formats["tombert_txt"].write(path, examples)
