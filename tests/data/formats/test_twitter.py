"""Twitter rows: the place comes from the marker, rows of a post are joined, both codings agree."""

from pathlib import Path

import pytest

from gen_msa.data.formats import formats
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Polarity, Rejected
from tests.data.making import gold, picture, plain

HEADER = "index\t#1 Label\t#2 ImageID\t#3 String\t#3 String"
ROWS = [
    "1\t2\t7.jpg\ttea beats $T$\ttea",
    "2\t0\t7.jpg\t$T$ beats tea\ttea",
    "3\t1\t8.jpg\tcake at $T$\tNoon",
]


def read(name: str, path: Path, lines: list[str]) -> tuple[list[Example], list[Rejected]]:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = list(formats[name].read(path))
    good = [r for r in rows if isinstance(r, Example)]
    return good, [r for r in rows if isinstance(r, Rejected)]


def test_the_place_comes_from_the_marker_though_the_term_stands_elsewhere_too(
    tmp_path: Path,
) -> None:
    good, bad = read("tombert_tsv", tmp_path / "dev.tsv", [HEADER, *ROWS])
    assert bad == []
    first, second = good
    assert first.post.text == "tea beats tea"
    assert first.post.aspects == (Aspect(term="tea", start=10), Aspect(term="tea", start=0))
    assert first.opinions == (
        gold(Aspect(term="tea", start=10), "positive"),
        gold(Aspect(term="tea", start=0), "negative"),
    )
    assert first.post.media == picture("7.jpg")
    assert (first.post.id, second.post.id) == ("7-1", "8-2")


def test_the_two_codings_give_equal_examples(tmp_path: Path) -> None:
    lines = ["tea beats $T$ ", "tea", "1", "7.jpg", " $T$ beats tea", "tea", "-1", "7.jpg"]
    lines += ["cake at $T$ ", "Noon", "0", "8.jpg"]
    from_text, bad = read("tombert_txt", tmp_path / "dev.txt", lines)
    assert bad == []
    assert from_text == read("tombert_tsv", tmp_path / "dev.tsv", [HEADER, *ROWS])[0]


def test_a_header_with_fewer_columns_or_none_at_all_does_not_matter(tmp_path: Path) -> None:
    whole = read("tombert_tsv", tmp_path / "a.tsv", [HEADER, *ROWS])
    short = read("tombert_tsv", tmp_path / "b.tsv", ["index\t#1 ImageID\t#2 String", *ROWS])
    none = read("tombert_tsv", tmp_path / "c.tsv", ROWS)
    assert whole == short == none


def test_an_equal_post_met_again_later_is_a_post_of_its_own(tmp_path: Path) -> None:
    good, bad = read("tombert_tsv", tmp_path / "dev.tsv", [HEADER, ROWS[0], ROWS[2], ROWS[0]])
    assert bad == []
    assert [e.post.id for e in good] == ["7-1", "8-2", "7-3"]
    assert good[0].opinions == good[2].opinions


def test_a_repeated_aspect_is_set_aside_once_and_a_contradiction_altogether(
    tmp_path: Path,
) -> None:
    again = "9\t2\t7.jpg\ttea beats $T$\ttea"
    other = "9\t0\t7.jpg\ttea beats $T$\ttea"
    good, bad = read("tombert_tsv", tmp_path / "a.tsv", [HEADER, ROWS[0], again, ROWS[1]])
    assert len(good[0].post.aspects) == 2
    assert [(r.line, "same label" in r.reason) for r in bad] == [(3, True)]
    good, bad = read("tombert_tsv", tmp_path / "b.tsv", [HEADER, ROWS[0], other, ROWS[1]])
    assert good[0].post.aspects == (Aspect(term="tea", start=0),)
    assert [(r.line, "different labels" in r.reason) for r in bad] == [(2, True), (3, True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1\t1\t7.jpg\tno marker\ttea", "0 markers"),
        ("1\t1\t7.jpg\t$T$ and $T$\ttea", "2 markers"),
        ("1\t3\t7.jpg\t$T$\ttea", "label '3'"),
        ("1\t1\t7.jpg\t$T$", "4 cells"),
        ("1\t1\t7.jpg\t$T$\ttea\tx", "6 cells"),
        ("1\t1\t7.jpg\t$T$\t ", "aspect is empty"),
        ("1\t1\t \t$T$\ttea", "no picture"),
    ],
)
def test_a_broken_row_is_set_aside_with_its_line_and_reason(
    row: str, reason: str, tmp_path: Path
) -> None:
    good, bad = read("tombert_tsv", tmp_path / "dev.tsv", [HEADER, ROWS[0], row, ROWS[1]])
    assert [len(e.post.aspects) for e in good] == [2]
    assert [(r.line, r.raw) for r in bad] == [(3, row)]
    assert reason in bad[0].reason
    assert bad[0].mend


RECORDS = [
    ["a $T$", "tea", "1", "1.jpg"],
    ["b $T$", "1", "0", "2.jpg"],
    ["c $T$", "x", "-1", "3.jpg"],
]


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("broken", range(3))
def test_a_lost_line_never_shifts_the_records_after_it(
    lost: int, broken: int, tmp_path: Path
) -> None:
    records = [list(r) for r in RECORDS]
    del records[broken][lost]
    good, bad = read("tombert_txt", tmp_path / "dev.txt", [x for r in records for x in r])
    kept = [r for i, r in enumerate(RECORDS) if i != broken]
    assert [e.post.text for e in good] == [r[0].replace("$T$", r[1]) for r in kept]
    assert [o.polarity for e in good for o in e.opinions] == [
        {"1": Polarity.POSITIVE, "0": Polarity.NEUTRAL, "-1": Polarity.NEGATIVE}[r[2]] for r in kept
    ]
    assert [r.line for r in bad] == [4 * broken + 1]


def test_a_text_record_with_a_bad_label_or_marker_is_set_aside_alone(tmp_path: Path) -> None:
    bad_label = ["b $T$", "x", "2", "2.jpg"]
    no_marker = ["b", "x", "1", "2.jpg"]
    lines = [*RECORDS[0], *bad_label, *RECORDS[1], *no_marker, *RECORDS[2]]
    good, bad = read("tombert_txt", tmp_path / "dev.txt", lines)
    assert len(good) == 3
    assert [r.line for r in bad] == [5, 13]


def test_own_ids_stand_in_the_index_column(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    found = [plain("17"), plain("tea-2"), plain("x")]
    formats["tombert_tsv"].write(path, found)
    assert (
        path.read_text().splitlines()[1].startswith("id=17\t2\ttea.jpg\tgood $T$ , bad cake\ttea")
    )
    assert path.read_text().splitlines()[3].startswith("3\t2\t")
    assert list(formats["tombert_tsv"].read(path)) == found
    with pytest.raises(UserError, match=r"tombert_txt has no room for post\.id of post '17'"):
        formats["tombert_txt"].write(path, found)
