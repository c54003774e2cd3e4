"""The same values as a terminal table, as Markdown and as a CSV; number formats and axes."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gen_msa.report.evaluation import markdown_table, metrics_table, write_metrics_csv
from gen_msa.report.evaluation.format import (
    format_interval,
    format_number,
    format_p_value,
    format_seed_spread,
    format_with_interval,
)
from gen_msa.report.evaluation.svg import linear_axis, short_count
from gen_msa.results import EvaluationResult, MetricValue
from tests.report.evaluation.builders import evaluation_result

FINITE = st.floats(-1e6, 1e6)


def render_terminal(evaluation: EvaluationResult, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(metrics_table(evaluation))
    return out.getvalue()


def test_terminal_shows_metrics_intervals_published_rows_and_notes():
    output = render_terminal(evaluation_result())
    for part in (
        "78.1 [75.6, 80.3]",
        "7 (0.8 %)",
        "79.4",
        ", published",
        "the page lists the sources",
        "accuracy (%)",
    ):
        assert part in " ".join(output.split())
    assert "900 rows, 450 posts, 411 clusters by image; reference gold" in output
    assert "note: Explanations were scored without references" in output
    assert "\x1b" not in output


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_narrow_terminal_shows_every_metric(width):
    output = "".join(render_terminal(evaluation_result(), width).split())
    for name in ("accuracy", "macrof1", "ece", "length", "verbatim"):
        assert name in output
    assert max(map(len, render_terminal(evaluation_result(), width).splitlines())) <= width


def test_markdown_bolds_only_significantly_best_systems():
    lines = markdown_table(evaluation_result()).splitlines()
    assert lines[0].startswith("| system | n | unparsed | accuracy % | macro f1 %")
    assert "**78.1 \\[75.6, 80.3\\]**" in lines[2]
    assert markdown_table(evaluation_result()).count("**") == 2
    assert "*A Paper's Net*, published" in lines[5]
    assert any("table 3" in line and "mean of 5 seeds" in line for line in lines)


def test_csv_has_every_metric_unrounded(tmp_path):
    path = tmp_path / "metrics.csv"
    count = write_metrics_csv(evaluation_result(), path)
    with path.open(encoding="utf-8-sig", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == count
    kinds = {r["kind"] for r in rows}
    assert kinds == {"measured", "slice", "probe", "comparison", "published"}
    accuracy_row = next(r for r in rows if r["metric"] == "accuracy" and r["system"] == "builtin")
    assert (float(accuracy_row["value"]), accuracy_row["n"], accuracy_row["unit"]) == (
        0.781,
        "900",
        "share",
    )
    undefined = [r for r in rows if r["note"] == "this system gives no explanations"]
    assert {r["value"] for r in undefined} == {""}


def test_reloaded_result_gives_the_same_tables(tmp_path):
    reloaded = EvaluationResult.model_validate_json(evaluation_result().model_dump_json())
    assert render_terminal(reloaded) == render_terminal(evaluation_result())
    assert markdown_table(reloaded) == markdown_table(evaluation_result())


@pytest.mark.parametrize(
    ("x", "unit", "expected"),
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
def test_format_number_by_unit(x, unit, expected):
    assert format_number(x, unit) == expected


def test_format_number_signed():
    assert [format_number(x, "share", signed=True) for x in (0.01, -0.01, 0.0)] == [
        "+1.0",
        "−1.0",
        "0.0",
    ]


def test_format_interval_needs_both_ends():
    assert format_interval(0.1, None, "share") == format_interval(float("nan"), 0.2, "share") == ""
    assert format_with_interval(MetricValue(value=0.5, n=2), "share") == "50.0"
    assert format_with_interval(None, "share") == "–"


def test_format_p_value_is_never_zero():
    assert [format_p_value(p) for p in (0.0, 1e-9, 0.0123, 0.2, 1.0)] == [
        *("<0.001", "<0.001", "0.012", "0.20", "1.00")
    ]


def test_format_seed_spread_is_sample_std():
    assert (
        format_seed_spread(MetricValue(value=0.7, n=9, seeds=(0.69, 0.7, 0.71)), "share")
        == "±1.0 over 3 seeds"
    )
    assert format_seed_spread(MetricValue(value=0.7, n=9, seeds=(0.7,)), "share") == ""


@given(st.lists(FINITE, max_size=9), st.booleans())
def test_linear_axis_covers_every_value(values, zero):
    scale = linear_axis([*values, None, float("nan")], zero=zero)
    tolerance = 1e-6 * max(1.0, abs(scale.low), abs(scale.high))
    assert scale.low < scale.high
    assert all(scale.low - tolerance <= v <= scale.high + tolerance for v in values)
    assert all(0 <= scale.position(v) <= 1 for v in values)
    assert 2 <= len(scale.ticks) <= 9
    assert not zero or scale.low <= 0 <= scale.high


def test_linear_axis_of_shares_ends_at_one():
    assert linear_axis([0.55, 0.999]).high == 1.0
    assert linear_axis([0.712, 0.838]).ticks == (0.7, 0.75, 0.8, 0.85)


@given(st.integers(0, 10**11))
def test_short_count_is_at_most_four_characters(n):
    assert len(short_count(n)) <= 4
