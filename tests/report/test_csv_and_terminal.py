"""The CSV reads back to what was said; the terminal table fits, is plain when piped, and safe."""

import csv
import io
from itertools import count

import pytest
from rich.console import Console

from gen_msa.report import table, write_csv
from gen_msa.report.spreadsheet import COLUMNS, safe
from gen_msa.types import Aspect, Example, Opinion, Post
from tests.report.making import POS, bus, opinion, phone


def rows(path):
    with path.open(encoding="utf-8-sig", newline="") as f:
        return list(csv.DictReader(f))


def printed(shown, *, terminal=False, width=100) -> str:
    out, colours = io.StringIO(), "standard" if terminal else None
    Console(file=out, force_terminal=terminal, width=width, color_system=colours).print(shown)
    return out.getvalue()


def test_csv_has_one_row_an_opinion_and_one_for_a_silent_post(tmp_path):
    path = tmp_path / "o.csv"
    silent = Example(post=Post(id="quiet", text="Nothing."))
    assert write_csv([phone(), bus(), silent], path) == 8
    found = rows(path)
    assert tuple(found[0]) == COLUMNS
    assert [r["post"] for r in found] == ["phone-1"] * 6 + ["bus", "quiet"]
    assert found[-1]["by"] == ""


def test_csv_keeps_what_was_said(tmp_path):
    write_csv([phone()], tmp_path / "o.csv")
    said = rows(tmp_path / "o.csv")
    assert said[2]["evidence"] == "Lovely screen | dim light"
    assert (said[2]["aspect"], said[2]["start"], said[2]["polarity"]) == ("screen", "7", "positive")
    assert float(said[2]["probability"]) == float(said[2]["p_positive"]) == 0.9
    assert said[3]["how"] == "prompt=reader/full@1234"
    assert (said[5]["polarity"], said[5]["status"]) == ("", "unparsed")


def test_csv_opens_in_a_spreadsheet_and_keeps_line_breaks(tmp_path):
    path = tmp_path / "o.csv"
    write_csv([Example(post=Post(id="1", text='two\nlines, "quoted" é 😀'))], path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfpost,")
    assert rows(path)[0]["text"] == 'two\nlines, "quoted" é 😀'


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", " =1", "＝1"])
def test_a_cell_that_could_be_a_formula_gets_an_apostrophe(cell):
    assert safe(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "a=1", "😀", "1-2", -1.5, None])
def test_other_cells_are_left_alone(cell):
    assert safe(cell) == cell


def test_the_table_shows_readers_and_leaves_gold_out():
    said = printed(table([phone(), bus()], 20))
    assert said.count("screen") >= 2
    assert "gold" not in said
    assert "It is lovely." in said
    assert "0.90" in said
    assert "? unparsed" in said
    assert "(whole post)" in said


def test_the_table_reads_no_more_than_it_shows():
    taken = []
    endless = (taken.append(n) or phone(n) for n in count())
    assert "… the first 5 opinions; there are more" in printed(table(endless, 5))
    assert len(taken) == 2


def test_a_piped_table_has_neither_colour_nor_lines():
    said = printed(table([phone()], 20))
    assert "\x1b" not in said
    assert not set(said) & set("─│┃━")
    assert "\x1b[" in printed(table([phone()], 20), terminal=True)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_of_the_table_is_wider_than_the_terminal(width):
    long = Example(
        post=Post(id="x" * 90, text="word " * 5000),
        opinions=(opinion("a", Aspect(term="word", start=2000), POS, explanation="why " * 90),),
    )
    assert max(map(len, printed(table([long, phone()], 9), width=width).splitlines())) <= width


def test_foreign_text_can_neither_move_the_cursor_nor_use_markup():
    bad = "[red]x[/red] \x1b[2J\x9b1m \u202e"
    said = Opinion(by=bad, aspect=Aspect(term=bad), polarity=POS, explanation=bad)
    out = printed(table([Example(post=Post(id=bad, text=bad), opinions=(said,))], 5), width=300)
    assert "[red]x[/red] �[2J�1m �" in out
    assert not set("\x1b\x9b\u202e") & set(out)
