"""Fault 25 on the page of an evaluation, its Markdown, its CSV and its terminal table."""

import csv
import io
import json

from rich.cells import cell_len
from rich.console import Console

from gen_msa.report.evaluation import markdown, table, write_figures
from gen_msa.results import Result
from tests.report.evaluation.making import NAMES, reader, result, shown
from tests.report.test_hostile import FORMULAS, HOSTILE, poisoned

LONG = ("x" * 5000, "👩‍👩‍👧" * 300, "שלום \u202e עולם", "ا" * 400)


def spoilt(bad: str) -> Result:
    """`bad` in every place of a result where foreign words can stand."""
    good = result()
    told = good.model_dump_json()
    for word in (
        *("Small talk, dev", "small_talk:dev", "picture", "A Paper's Net"),
        *("Writer et al., Journal of Small Talk 12, table 3.", "reader/full@12ab34cd"),
        *("this reader gives no explanations", "aspect visible in the picture", "3 and more"),
        *(
            "Some of both, one could say; it depends.",
            "Share of gold opinions read as gold has them.",
        ),
        *("two readers say otherwise than gold", "McNemar, exact", "Holm over 6", "2 cores, 8 GB"),
        *("cluster bootstrap, 10000 replicates, seed 0", "13a, v2.5", "macro_f1", "quoting"),
        *("bleu: gold gives no reasons to compare with", "aspect_swap", "unparsed", NAMES[0]),
    ):
        told = told.replace(f'"{word}"', json.dumps(bad))
    return Result.model_validate_json(told)


def test_fifty_hostile_strings_in_all_places_add_no_element_and_no_attribute(tmp_path):
    plain = shown(tmp_path, spoilt("plain"), [poisoned("plain")]).shape()
    for bad in HOSTILE:
        seen = shown(tmp_path, spoilt(bad), [poisoned(bad)])
        assert seen.shape() <= plain, bad
        page = (tmp_path / "evaluation.html").read_text("utf-8").lower()
        assert page.count("<script") == 1, bad
        assert all(a["href"].startswith("#") for a in seen.of("a"))


def test_no_cell_of_the_csv_starts_a_formula(tmp_path):
    for bad in FORMULAS:
        path = tmp_path / "f.csv"
        write_figures(spoilt(bad), path)
        with path.open(encoding="utf-8-sig", newline="") as f:
            rows = list(csv.reader(f))[1:]
        cells = [cell for row in rows for cell in (*row[:6], *row[10:])]
        assert [c for c in cells if c.lstrip()[:1] in set("=+-@＝＋－＠") and c] == [], bad
        assert any(c == "'" + bad for c in cells)


def test_markdown_keeps_foreign_words_in_their_cells(tmp_path):
    said = markdown(spoilt("a | b\n\n# <script>x</script> [l](http://x) `c`"))
    lines = said.splitlines()
    width = lines[0].count(" | ")
    assert all(line.replace("\\|", "").count(" | ") == width for line in lines if line[:1] == "|")
    assert "<script" not in said.replace("\\<", "")
    assert "](" not in said.replace("\\]", "")
    assert "http://" not in said


def test_long_words_neither_widen_the_terminal_nor_break_the_page(tmp_path):
    for bad in LONG:
        assert "Figures" in shown(tmp_path, spoilt(bad)).text("h2")
        for width in (40, 80, 120):
            out = io.StringIO()
            Console(file=out, width=width).print(table(spoilt(bad[:90])))
            assert max(map(cell_len, out.getvalue().splitlines())) <= width
            assert "\u202e" not in out.getvalue()


def test_a_terminal_escape_in_a_name_does_nothing():
    res = result(readers=(reader("a\x1b[2Jb", 0),), comparisons=())
    out = io.StringIO()
    Console(file=out, width=200).print(table(res))
    assert "\x1b" not in out.getvalue()
    assert "a�[2Jb" in out.getvalue()
