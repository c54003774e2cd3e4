"""CSV of a user's own: columns, joining, places, and what a bad row does to its neighbours."""

from pathlib import Path

import pytest

from gen_msa.data.formats import formats
from gen_msa.errors import UserError
from gen_msa.jsonl import MAX_LINE
from gen_msa.types import WHOLE_POST, Aspect, Example, Polarity, Rejected
from tests.data.making import gold, picture


def read(path: Path, text: str | bytes) -> tuple[list[Example], list[Rejected]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    rows = list(formats["csv"].read(path))
    good = [r for r in rows if isinstance(r, Example)]
    return good, [r for r in rows if isinstance(r, Rejected)]


def test_text_alone_is_enough(tmp_path: Path) -> None:
    good, bad = read(tmp_path / "mine.csv", "text\ngood tea\n\ngood tea\n")
    assert bad == []
    assert [(e.post.id, e.post.text) for e in good] == [
        ("mine-2", "good tea"),
        ("mine-4", "good tea"),
    ]


def test_rows_of_one_id_are_one_post_and_unknown_columns_go_to_meta(tmp_path: Path) -> None:
    table = (
        "id,text,image,aspect,polarity,city,note\n"
        '1,"tea, tea",a.jpg,tea,Positive,Rome,\n'
        '1,"tea, tea",a.jpg,tea,negative,Rome,late\n'
        "2,soup,,,neutral,,\n"
    )
    good, bad = read(tmp_path / "mine.csv", table)
    assert bad == []
    tea = (Aspect(term="tea", start=0), Aspect(term="tea", start=5))
    assert good[0].post.aspects == tea
    assert good[0].opinions == (gold(tea[0], "positive"), gold(tea[1], "negative"))
    assert good[0].post.media == picture("a.jpg")
    assert good[0].post.meta == {"city": "Rome", "note": [None, "late"]}
    assert good[1].opinions == (gold(WHOLE_POST, "neutral"),)


def test_rows_without_id_are_joined_by_text_when_both_name_an_aspect(tmp_path: Path) -> None:
    good, _ = read(tmp_path / "m.csv", "text,aspect\ntea cake,tea\ntea cake,cake\ntea cake,\n")
    assert [len(e.post.aspects) for e in good] == [2, 0]
    assert [e.post.id for e in good] == ["m-2", "m-4"]


def test_places_are_searched_only_without_a_start_column(tmp_path: Path) -> None:
    good, bad = read(
        tmp_path / "m.csv", "id,text,aspect,start\n1,tea,tea,\n2,tea,tea,0\n3,tea,tea,1\n"
    )
    assert [e.post.aspects[0].start for e in good] == [None, 0]
    assert [(r.line, "not at 1" in r.reason) for r in bad] == [(4, True)]


def test_two_readers_on_one_mention_share_it_and_a_surplus_mention_is_set_aside(
    tmp_path: Path,
) -> None:
    table = "id,text,aspect,by,polarity\n1,tea,tea,gold,neutral\n1,tea,tea,bot,positive\n"
    good, bad = read(tmp_path / "m.csv", table + "1,tea,tea,bot,negative\n")
    assert good[0].post.aspects == (Aspect(term="tea", start=0),)
    assert [o.by for o in good[0].opinions] == ["gold", "bot"]
    assert [(r.line, "more often" in r.reason) for r in bad] == [(4, True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,tea,tea,POS,0.5", "'POS' is none of"),
        ("1,tea,tea,positive,much", "could not convert"),
        ("1,tea,tea,positive,nan", "finite"),
        ("1,wine,tea,positive,1", "another text under the same id"),
        ("1,tea", "2 cells for 5 columns"),
        ("1,tea,tea,positive,1,1", "6 cells for 5 columns"),
        ('1,"tea"x,tea,positive,1', "expected after"),
    ],
)
def test_a_bad_row_is_set_aside_and_the_post_keeps_its_others(
    row: str, reason: str, tmp_path: Path
) -> None:
    table = f"id,text,aspect,polarity,score\n1,tea,tea,neutral,1\n{row}\n2,tea,,,\n"
    good, bad = read(tmp_path / "m.csv", table)
    assert [(e.post.id, len(e.opinions)) for e in good] == [("1", 1), ("2", 0)]
    assert [(r.line, r.raw) for r in bad] == [(3, row)]
    assert reason in bad[0].reason


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    rows = [f"{i},tea {i}" for i in range(2000)]
    rows[700] = '700,"tea 700'
    rows[1400] = '1400,tea "1400'
    good, bad = read(tmp_path / "m.csv", "id,text\n" + "\n".join(rows) + "\n")
    assert [r.line for r in bad] == [702]
    assert len(good) == 1999
    assert good[1399].post.text == 'tea "1400'


def test_line_breaks_blank_lines_and_commas_live_in_quoted_cells(tmp_path: Path) -> None:
    good, bad = read(tmp_path / "m.csv", b'\xef\xbb\xbfid,text\r\n1,"a,\r\n\r\n""b"""\r\n2,c\r\n')
    assert bad == []
    assert [e.post.text for e in good] == ['a,\r\n\r\n"b"', "c"]


def test_a_leading_apostrophe_is_text(tmp_path: Path) -> None:
    good, bad = read(tmp_path / "m.csv", "text\n'=1+1\n'tis\n")
    assert bad == []
    assert [e.post.text for e in good] == ["'=1+1", "'tis"]


def test_bytes_that_are_no_text_cost_one_row(tmp_path: Path) -> None:
    good, bad = read(tmp_path / "m.csv", b"id,text\n1,\xff\xfe\n2,tea\n")
    assert [e.post.id for e in good] == ["2"]
    assert [r.line for r in bad] == [2]


@pytest.mark.parametrize(
    ("header", "problem"),
    [("id,txt", "no column 'text'"), ("text,id,text", "two columns named 'text'")],
)
def test_a_header_that_cannot_be_used_stops_the_job(
    header: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=problem):
        read(tmp_path / "m.csv", f"{header}\n1,2,3\n")


def test_opinions_on_aspects_a_reader_found_itself_fit(tmp_path: Path) -> None:
    post = Example.model_validate({"post": {"id": "1", "text": "tea"}}).post
    found = [Example(post=post, opinions=(gold(Aspect(term="tea", start=0), "positive"),))]
    path = tmp_path / "m.csv"
    formats["csv"].write(path, found)
    assert list(formats["csv"].read(path)) == found
    assert found[0].opinions[0].polarity is Polarity.POSITIVE


def test_an_overlong_line_is_set_aside_in_a_cell_or_alone(tmp_path: Path) -> None:
    long = b"x" * (3 * MAX_LINE)
    good, bad = read(tmp_path / "m.csv", b'text\na\n"b\n' + long + b'"\nc\n' + long)
    assert [e.post.text for e in good] == ["a", "c"]
    assert [r.line for r in bad] == [3, 4, 6]
    assert bad[1].reason.startswith(f"line of {3 * MAX_LINE + 2} bytes")


def test_a_record_of_many_lines_over_the_limit_is_given_up_after_its_first(tmp_path: Path) -> None:
    lines = (b"x" * 50_000 + b"\n") * 30
    good, bad = read(tmp_path / "m.csv", b'text\n"open\n' + lines)
    assert len(good) == 30
    assert [(r.line, "is a quote not closed" in r.reason) for r in bad] == [(2, True)]
