"""Test CSV: columns, joining, offsets, and the effect of a bad row on its neighbours."""

import warnings
from pathlib import Path

import pytest

from gen_msa.data.formats import ReadOptions, formats, read_file
from gen_msa.errors import InputWarning, UserError
from gen_msa.jsonl import MAX_LINE_BYTES
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Polarity, Rejected
from tests.data.builders import gold_opinion, image_media


def read(path: Path, text: str | bytes) -> tuple[list[Example], list[Rejected]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    rows = list(formats["csv"].read(path))
    accepted = [r for r in rows if isinstance(r, Example)]
    return accepted, [r for r in rows if isinstance(r, Rejected)]


def test_text_column_alone_is_enough(tmp_path: Path) -> None:
    accepted, rejected = read(tmp_path / "mine.csv", "text\ngood tea\n\ngood tea\n")
    assert rejected == []
    assert [(e.post.id, e.post.text) for e in accepted] == [
        ("mine-2", "good tea"),
        ("mine-4", "good tea"),
    ]


def test_rows_with_same_id_are_joined_and_extra_columns_go_to_meta(tmp_path: Path) -> None:
    table = (
        "id,text,image,aspect,polarity,city,note\n"
        '1,"tea, tea",a.jpg,tea,Positive,Rome,\n'
        '1,"tea, tea",a.jpg,tea,negative,Rome,late\n'
        "2,soup,,,neutral,,\n"
    )
    accepted, rejected = read(tmp_path / "mine.csv", table)
    assert rejected == []
    tea = (Aspect(term="tea", start=0), Aspect(term="tea", start=5))
    assert accepted[0].post.aspects == tea
    assert accepted[0].opinions == (
        gold_opinion(tea[0], "positive"),
        gold_opinion(tea[1], "negative"),
    )
    assert accepted[0].post.media == image_media("a.jpg")
    assert accepted[0].post.meta == {"city": "Rome", "note": [None, "late"]}
    assert accepted[1].opinions == (gold_opinion(OVERALL_ASPECT, "neutral"),)


def test_rows_without_id_are_joined_by_text_if_all_name_an_aspect(tmp_path: Path) -> None:
    accepted, _ = read(tmp_path / "m.csv", "text,aspect\ntea cake,tea\ntea cake,cake\ntea cake,\n")
    assert [len(e.post.aspects) for e in accepted] == [2, 0]
    assert [e.post.id for e in accepted] == ["m-2", "m-4"]


def test_aspects_are_located_only_without_start_column(tmp_path: Path) -> None:
    accepted, rejected = read(
        tmp_path / "m.csv", "id,text,aspect,start\n1,tea,tea,\n2,tea,tea,0\n3,tea,tea,1\n"
    )
    assert [e.post.aspects[0].start for e in accepted] == [None, 0]
    assert [(r.line, "not at 1" in r.reason) for r in rejected] == [(4, True)]


def test_annotators_share_a_mention_and_surplus_row_is_rejected(
    tmp_path: Path,
) -> None:
    table = "id,text,aspect,annotator,polarity\n1,tea,tea,gold,neutral\n1,tea,tea,bot,positive\n"
    accepted, rejected = read(tmp_path / "m.csv", table + "1,tea,tea,bot,negative\n")
    assert accepted[0].post.aspects == (Aspect(term="tea", start=0),)
    assert [o.annotator for o in accepted[0].opinions] == ["gold", "bot"]
    assert [(r.line, "more often" in r.reason) for r in rejected] == [(4, True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,tea,tea,superb,0.5", "'superb' is none of"),
        ("1,tea,tea,positive,much", "could not convert"),
        ("1,tea,tea,positive,nan", "finite"),
        ("1,wine,tea,positive,1", "another text under the same id"),
        ("1,tea", "2 cells for 5 columns"),
        ("1,tea,tea,positive,1,1", "6 cells for 5 columns"),
        ('1,"tea"x,tea,positive,1', "expected after"),
    ],
)
def test_bad_row_is_rejected_and_post_keeps_other_rows(
    row: str, reason: str, tmp_path: Path
) -> None:
    table = f"id,text,aspect,polarity,score\n1,tea,tea,neutral,1\n{row}\n2,tea,,,\n"
    accepted, rejected = read(tmp_path / "m.csv", table)
    assert [(e.post.id, len(e.opinions)) for e in accepted] == [("1", 1), ("2", 0)]
    assert [(r.line, r.raw) for r in rejected] == [(3, row)]
    assert reason in rejected[0].reason


def test_unclosed_quote_loses_one_row(tmp_path: Path) -> None:
    rows = [f"{i},tea {i}" for i in range(2000)]
    rows[700] = '700,"tea 700'
    rows[1400] = '1400,tea "1400'
    accepted, rejected = read(tmp_path / "m.csv", "id,text\n" + "\n".join(rows) + "\n")
    assert [r.line for r in rejected] == [702]
    assert len(accepted) == 1999
    assert accepted[1399].post.text == 'tea "1400'


def test_quoted_cells_may_hold_line_breaks_and_commas(tmp_path: Path) -> None:
    accepted, rejected = read(
        tmp_path / "m.csv", b'\xef\xbb\xbfid,text\r\n1,"a,\r\n\r\n""b"""\r\n2,c\r\n'
    )
    assert rejected == []
    assert [e.post.text for e in accepted] == ['a,\r\n\r\n"b"', "c"]


def test_leading_apostrophe_is_text(tmp_path: Path) -> None:
    accepted, rejected = read(tmp_path / "m.csv", "text\n'=1+1\n'tis\n")
    assert rejected == []
    assert [e.post.text for e in accepted] == ["'=1+1", "'tis"]


def test_undecodable_bytes_lose_one_row(tmp_path: Path) -> None:
    accepted, rejected = read(tmp_path / "m.csv", b"id,text\n1,\xff\xfe\n2,tea\n")
    assert [e.post.id for e in accepted] == ["2"]
    assert [r.line for r in rejected] == [2]


@pytest.mark.parametrize(
    ("header", "problem"),
    [("id,txt", "no column 'text'"), ("text,id,text", "two columns named 'text'")],
)
def test_unusable_header_raises(header: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        read(tmp_path / "m.csv", f"{header}\n1,2,3\n")


def test_opinions_on_unlisted_aspects_round_trip(tmp_path: Path) -> None:
    post = Example.model_validate({"post": {"id": "1", "text": "tea"}}).post
    examples = [
        Example(post=post, opinions=(gold_opinion(Aspect(term="tea", start=0), "positive"),))
    ]
    path = tmp_path / "m.csv"
    formats["csv"].write(path, examples)
    assert list(formats["csv"].read(path)) == examples
    assert examples[0].opinions[0].polarity is Polarity.POSITIVE


def mapped(path: Path, content: str, **columns: str) -> list[Example]:
    path.write_text(content, encoding="utf-8")
    rows = list(read_file(path, formats["csv"], ReadOptions(columns)))
    assert all(isinstance(r, Example) for r in rows), rows
    return [r for r in rows if isinstance(r, Example)]


def test_columns_of_other_names_are_read_and_displaced_ones_stay_in_meta(tmp_path: Path) -> None:
    text = "caption,text,label\nlovely tea,42,positive\n"
    (example,) = mapped(tmp_path / "m.csv", text, text="caption", polarity="label")
    assert example.post.text == "lovely tea"
    assert example.post.meta == {"text (2)": "42"}
    assert [o.polarity for o in example.opinions] == [Polarity.POSITIVE]
    with pytest.raises(UserError, match=r"no column 'captain'.*\n.*did you mean 'caption'"):
        mapped(tmp_path / "m.csv", text, text="captain")


def test_header_is_found_below_a_preamble_and_columns_without_a_name_are_numbered(
    tmp_path: Path,
) -> None:
    text = 'Report:;"Tea, all"\nFrom:;"1 May\n\nTitle;Full Text;;Title\nA;lovely tea;x;B\n'
    with pytest.warns(InputWarning, match="2 lines before the header"):
        (example,) = mapped(tmp_path / "m.csv", text, text="Full Text")
    assert example.post.text == "lovely tea"
    assert example.post.meta == {"Title": "A", "column 3": "x", "Title (2)": "B"}


def test_overlong_line_is_rejected(tmp_path: Path) -> None:
    long_line = b"x" * (3 * MAX_LINE_BYTES)
    accepted, rejected = read(
        tmp_path / "m.csv", b'text\na\n"b\n' + long_line + b'"\nc\n' + long_line
    )
    assert [e.post.text for e in accepted] == ["a", "c"]
    assert [r.line for r in rejected] == [3, 4, 6]
    assert rejected[1].reason.startswith(f"line of {3 * MAX_LINE_BYTES + 2} bytes")


def test_oversized_multiline_record_is_rejected_after_first_line(tmp_path: Path) -> None:
    lines = (b"x" * 50_000 + b"\n") * 30
    accepted, rejected = read(tmp_path / "m.csv", b'text\n"open\n' + lines)
    assert len(accepted) == 30
    assert [(r.line, "is a quote not closed" in r.reason) for r in rejected] == [(2, True)]


def test_quotes_in_tsv_are_characters(tmp_path: Path) -> None:
    text = 'id\ttext\tpolarity\n1\t"Lovely tea\tpositive\n2\tonly 5"\tnegative\n3\tfine\tneutral\n'
    accepted, rejected = read(tmp_path / "m.tsv", text)
    assert rejected == []
    assert [e.post.text for e in accepted] == ['"Lovely tea', 'only 5"', "fine"]
    assert [e.opinions[0].polarity for e in accepted] == ["positive", "negative", "neutral"]


def test_doubled_quote_proves_that_tsv_cells_are_quoted(tmp_path: Path) -> None:
    accepted, rejected = read(tmp_path / "m.tsv", 'id\ttext\n1\t"a ""b"" c"\n2\t"d\te"\n')
    assert rejected == []
    assert [e.post.text for e in accepted] == ['a "b" c', "d\te"]


def test_stray_quotes_do_not_join_rows(tmp_path: Path) -> None:
    text = "id,text,polarity\n" + '1,"Lovely tea,positive\n2,only 5",negative\n3,fine,neutral\n'
    accepted, rejected = read(tmp_path / "m.csv", text)
    assert [e.post.id for e in accepted] == ["2", "3"]
    assert [(r.line, "is it closed" in r.reason) for r in rejected] == [(2, True)]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1252", "Windows-1252"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-8-sig", "")],
)
@pytest.mark.parametrize(("delimiter", "note"), [(",", ""), (";", "semicolons"), ("\t", "tabs")])
def test_encoding_and_delimiter_are_detected_and_announced(
    encoding: str, name: str, delimiter: str, note: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.csv"
    rows = [["id", "text", "aspect"], ["1", "Café “nice” – 5 €", "Café"], ["2", "thé", ""]]
    path.write_bytes("\r\n".join(delimiter.join(r) for r in rows).encode(encoding))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        examples = list(formats["csv"].read(path))
    assert [e.post.text for e in examples if isinstance(e, Example)] == [r[1] for r in rows[1:]]
    messages = " ".join(str(n.message) for n in notes)
    assert (name in messages, note in messages, len(notes)) == (
        True,
        True,
        bool(name) + bool(note),
    )


def test_score_status_and_meta_of_a_users_own_are_no_opinion(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("Text,score,status,meta\nGood tea,5,shipped,shop A\n", encoding="utf-8")
    (row,) = formats["csv"].read(path)
    assert isinstance(row, Example)
    assert row.opinions == ()
    assert row.post.meta == {"score": "5", "status": "shipped", "meta": "shop A"}


def test_names_of_columns_are_read_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("ID,Text,Polarity,TEXT\n1,Good tea,Positive,x\n", encoding="utf-8")
    with pytest.raises(UserError, match="no column 'text'"):  # two would be it
        list(formats["csv"].read(path))
    path.write_text("ID,Text,Polarity\n1,Good tea,Positive\n", encoding="utf-8")
    (row,) = formats["csv"].read(path)
    assert isinstance(row, Example)
    assert (row.post.id, row.opinions[0].polarity) == ("1", "positive")


@pytest.mark.parametrize(
    "rows",
    [
        "id,text\n1,good tea\n1,good tea\n",
        "id,text,likes\n1,good tea,3\n1,good tea,4\n",
        "id,text,aspect,start,polarity\n1,good tea,tea,5,positive\n1,good tea,tea,5,positive\n",
        "id,text,polarity\n1,good tea,positive\n1,good tea,positive\n",
    ],
)
def test_adjacent_row_that_repeats_a_post_is_rejected(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text(rows)
    rejected, post = sorted(formats["csv"].read(path), key=lambda r: isinstance(r, Example))
    assert isinstance(rejected, Rejected)
    assert isinstance(post, Example)
    assert (rejected.line, rejected.reason) == (3, "id '1' is also in line 2, with nothing else")
    assert len(post.opinions) <= 1
