"""The same figures as a terminal table, as Markdown and as a CSV; and the words and axes of all."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gen_msa.report.evaluation import markdown, table, write_figures
from gen_msa.report.evaluation.reliability import short
from gen_msa.report.evaluation.scales import axis
from gen_msa.report.evaluation.words import bracketed, number, probability, seeds, span
from gen_msa.results import Result, Value
from tests.report.evaluation.making import result

FINITE = st.floats(-1e6, 1e6)


def printed(res: Result, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table(res))
    return out.getvalue()


def test_the_terminal_shows_figures_intervals_papers_and_notes():
    said = printed(result())
    for part in (
        "78.1 [75.6, 80.3]",
        "7 (0.8 %)",
        "79.4",
        ", printed",
        "sources stand in the page",
        "accuracy (%)",
    ):
        assert part in " ".join(said.split())
    assert "900 rows, 450 posts, 411 clusters by picture; against gold" in said
    assert "note: Explanations were scored without references" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_figure_is_left_out_of_a_narrow_terminal(width):
    said = "".join(printed(result(), width).split())
    for name in ("accuracy", "macrof1", "ece", "length", "verbatim"):
        assert name in said
    assert max(map(len, printed(result(), width).splitlines())) <= width


def test_markdown_has_a_row_a_reader_and_bold_only_where_tests_say_so():
    lines = markdown(result()).splitlines()
    assert lines[0].startswith("| reader | n | unread | accuracy % | macro f1 %")
    assert "**78.1 \\[75.6, 80.3\\]**" in lines[2]
    assert markdown(result()).count("**") == 2
    assert "*A Paper's Net*, printed" in lines[5]
    assert any("table 3" in line and "mean of 5 seeds" in line for line in lines)


def test_the_csv_has_every_figure_unrounded(tmp_path):
    path = tmp_path / "figures.csv"
    count = write_figures(result(), path)
    with path.open(encoding="utf-8-sig", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == count
    kinds = {r["kind"] for r in rows}
    assert kinds == {"measured", "slice", "probe", "compared", "printed"}
    found = next(r for r in rows if r["figure"] == "accuracy" and r["by"] == "builtin")
    assert (float(found["value"]), found["n"], found["unit"]) == (0.781, "900", "share")
    undefined = [r for r in rows if r["note"] == "this reader gives no explanations"]
    assert {r["value"] for r in undefined} == {""}


def test_a_result_read_back_gives_the_same_tables(tmp_path):
    again = Result.model_validate_json(result().model_dump_json())
    assert printed(again) == printed(result())
    assert markdown(again) == markdown(result())


@pytest.mark.parametrize(
    ("x", "unit", "said"),
    [
        (0.78149, "share", "78.1"),
        (None, "share", "–"),
        (float("nan"), "score", "–"),
        (float("inf"), "score", "–"),
        (-0.0001, "share", "0.0"),
        (-0.5, "score", "−0.500"),
        (12345.0, "count", "12,345"),
        (2.5, "count", "2.5"),
    ],
)
def test_numbers_are_written_in_their_units_digits(x, unit, said):
    assert number(x, unit) == said


def test_a_sign_is_shown_where_it_says_something():
    assert [number(x, "share", signed=True) for x in (0.01, -0.01, 0.0)] == ["+1.0", "−1.0", "0.0"]


def test_half_an_interval_is_none():
    assert span(0.1, None, "share") == span(float("nan"), 0.2, "share") == ""
    assert bracketed(Value(value=0.5, n=2), "share") == "50.0"
    assert bracketed(None, "share") == "–"


def test_p_is_never_zero():
    assert [probability(p) for p in (0.0, 1e-9, 0.0123, 0.2, 1.0)] == [
        *("<0.001", "<0.001", "0.012", "0.20", "1.00")
    ]


def test_spread_over_seeds_is_the_sample_standard_deviation():
    assert seeds(Value(value=0.7, n=9, seeds=(0.69, 0.7, 0.71)), "share") == "±1.0 over 3 seeds"
    assert seeds(Value(value=0.7, n=9, seeds=(0.7,)), "share") == ""


@given(st.lists(FINITE, max_size=9), st.booleans())
def test_an_axis_holds_every_value_between_round_numbers(values, zero):
    found = axis([*values, None, float("nan")], zero=zero)
    room = 1e-6 * max(1.0, abs(found.low), abs(found.high))
    assert found.low < found.high
    assert all(found.low - room <= v <= found.high + room for v in values)
    assert all(0 <= found.at(v) <= 1 for v in values)
    assert 2 <= len(found.ticks) <= 9
    assert not zero or found.low <= 0 <= found.high


def test_an_axis_of_shares_does_not_pass_one():
    assert axis([0.55, 0.999]).high == 1.0
    assert axis([0.712, 0.838]).ticks == (0.7, 0.75, 0.8, 0.85)


@given(st.integers(0, 10**11))
def test_a_count_fits_over_its_bar(n):
    assert len(short(n)) <= 4
