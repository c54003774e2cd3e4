"""Cost against quality: the frontier, its plot and its tables."""

import csv
import io
import re
from itertools import combinations
from math import log10

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gen_msa.report.evaluation import costs as plot
from gen_msa.report.evaluation import markdown_table, metrics_table, write_metrics_csv
from gen_msa.report.evaluation.costs import (
    COST_COLUMNS,
    ParetoPoint,
    cost_rows,
    pareto_frontier,
    pareto_points,
)
from gen_msa.report.evaluation.format import format_amount
from gen_msa.report.evaluation.svg import log_axis
from gen_msa.results import CostBenchmark, EvaluationResult, MetricValue
from tests.report.evaluation.builders import evaluation_result, render_result, system_result
from tests.report.test_hostile_input import HOSTILE

MACHINE = "A processor, 1 thread of 2 cores; Python 3.11.7"
THROUGHPUT = {"builtin": 0.52, "student": 23.0, "int8": 211.0, "dull": 14.0}
ACCURACY = {"builtin": 0.74, "student": 0.72, "int8": 0.70, "dull": 0.55}


def cost_benchmark(rate: float, **overrides: MetricValue) -> CostBenchmark:
    method = "median, minimum and maximum of 5 repeats"
    energy = MetricValue(value=None, n=8, note="not measurable here")
    metrics = {
        "posts_per_second": MetricValue(
            value=rate, n=8, low=rate * 0.9, high=rate * 1.2, method=method
        ),
        "cpu_seconds": MetricValue(
            value=980 / rate, n=8, low=900 / rate, high=1100 / rate, method=method
        ),
        "megabytes": MetricValue(value=91.4, n=8),
        "peak_megabytes": MetricValue(value=612.4, n=8),
        "joules": energy,
    }
    return CostBenchmark(
        metrics={**metrics, **overrides},
        fingerprint_sha256="ab" * 32,
        posts=8,
        repeats=5,
        machine=MACHINE,
    )


def result_with_costs(
    benchmarks: dict[str, CostBenchmark | None], accuracies: dict[str, float] = ACCURACY
) -> EvaluationResult:
    """Build a result whose systems have these costs and accuracies."""
    systems = []
    for name, benchmark in benchmarks.items():
        x = accuracies.get(name, 0.6)
        accuracy = MetricValue(value=x, n=900, low=x - 0.03, high=x + 0.02, method="bootstrap")
        metrics = {"labels": {"accuracy": accuracy}}
        systems.append(system_result(name, 0, metrics=metrics, cost_benchmark=benchmark))
    return evaluation_result(systems=tuple(systems), comparisons=(), probes={}, disagreements=())


def four_systems(**extra: CostBenchmark | None) -> EvaluationResult:
    return result_with_costs({**{n: cost_benchmark(r) for n, r in THROUGHPUT.items()}, **extra})


def pareto_point(
    rate: float, value: float, index: int = 0, name: str = "r", size: str = "91.4 MB"
) -> ParetoPoint:
    return ParetoPoint(index, name, rate, value, value - 0.02, value + 0.02, size, name)


RATES = st.floats(0.01, 1e4)
SHARES = st.sampled_from([0.5, 0.6, 0.61, 0.7]) | st.floats(0, 1)
RATE_VALUE_PAIRS = st.lists(st.tuples(RATES, SHARES), max_size=12)


def dominates(a: ParetoPoint, b: ParetoPoint) -> bool:
    return a.rate >= b.rate and a.value >= b.value and (a.rate > b.rate or a.value > b.value)


@given(RATE_VALUE_PAIRS)
def test_pareto_frontier_holds_undominated_points(pairs):
    all_points = [pareto_point(r, v, i) for i, (r, v) in enumerate(pairs)]
    frontier_points = pareto_frontier(all_points)
    for p in all_points:
        assert (p in frontier_points) == (not any(dominates(q, p) for q in all_points))
    assert bool(frontier_points) == bool(all_points)
    assert all(
        any(dominates(q, p) for q in frontier_points)
        for p in all_points
        if p not in frontier_points
    )
    speeds = [p.rate for p in frontier_points]
    assert speeds == sorted(speeds)
    values = [p.value for p in frontier_points]
    assert values == sorted(values, reverse=True)


@given(st.lists(st.tuples(RATES, st.floats(0.5, 0.8)), min_size=1, max_size=8))
def test_place_labels_avoids_overlap_and_stays_inside(pairs):
    all_points = [pareto_point(r, v, i, f"student {i}, labels") for i, (r, v) in enumerate(pairs)]
    x_axis, min_value = log_axis([r for r, _ in pairs]), 0.5
    plotted = [
        plot.PlottedPoint(p, 40 + 300 * x_axis.position(log10(p.rate)), y, y - 8, y + 8)
        for p in all_points
        for y in [250 - 700 * (p.value - min_value)]
    ]
    boxes = [
        plot.label_box(s, label)
        for s, label in zip(plotted, plot.place_labels(plotted), strict=True)
    ]
    assert all(b[0] >= plot.LEFT and b[2] <= plot.WIDTH for b in boxes)
    assert all(b[1] >= 0 and b[3] <= plot.BOTTOM for b in boxes)
    for a, b in combinations(boxes, 2):
        assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


@given(st.lists(st.floats(1e-4, 1e6), max_size=9))
def test_log_axis_covers_values_with_few_ticks(values):
    log_scale = log_axis(values)
    assert all(log_scale.low < log10(v) < log_scale.high for v in values)
    assert len(log_scale.ticks) <= 7
    assert all(log_scale.low <= t <= log_scale.high for t in log_scale.ticks)


def test_pareto_plot_dims_dominated_systems(tmp_path):
    evaluation = four_systems(
        majority=CostBenchmark(note="recorded answers: no cost of their own"),
        broken=CostBenchmark(note="failed: ValueError: the soup is cold"),
    )
    parsed = render_result(tmp_path, evaluation)
    assert len(parsed.attributes_of("spot")) == 4
    assert len(parsed.attributes_of("pale")) == 1
    assert len(parsed.attributes_of("step")) == 1
    assert [c.system for c in cost_rows(evaluation) if c.frontier] == ["builtin", "student", "int8"]
    (front,) = parsed.attributes_of("front")
    assert set(front["aria-labelledby"].split()) <= {
        a["id"] for _, a in parsed.elements if "id" in a
    }
    description = parsed.text("desc")
    assert "int8: 211 posts per second, 70.0 [67.0, 72.0], 91.4 MB, on the frontier" in description
    assert "dull: 14 posts per second, 55.0 [52.0, 57.0], 91.4 MB" in description
    assert parsed.text("desc").count("on the frontier") == 3
    assert "recorded answers: no cost of their own" in parsed.text("why")
    assert "failed: ValueError: the soup is cold" in parsed.text("why")
    assert "not measurable here" in parsed.text("costs")
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_page_costs_match_the_json(tmp_path):
    reloaded = EvaluationResult.model_validate_json(four_systems().model_dump_json())
    costs_text = render_result(tmp_path, reloaded).text("costs")
    for r in reloaded.systems:
        assert r.cost_benchmark.fingerprint_sha256 == "ab" * 32
        for name in COST_COLUMNS:
            value = r.cost_benchmark.metrics[name]
            assert format_amount(value.value) in costs_text
            if value.low is not None:
                assert f"{format_amount(value.low)} to {format_amount(value.high)}" in costs_text
    assert MACHINE in costs_text
    assert "8 posts, 5 repeats" in costs_text


def test_page_without_costs_has_no_plot_or_section(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert parsed.attributes_of("front") == []
    assert "Costs" not in parsed.text("h2")
    recorded_only = render_result(
        tmp_path,
        result_with_costs(
            {"majority": CostBenchmark(note="recorded answers: no cost of their own")}
        ),
    )
    assert recorded_only.attributes_of("front") == []
    assert "recorded answers: no cost of their own" in recorded_only.text("why")


def test_pareto_plot_of_one_or_equal_systems(tmp_path):
    for names in (["a"], ["a", "b", "c"]):
        parsed = render_result(
            tmp_path, result_with_costs(dict.fromkeys(names, cost_benchmark(3.0)))
        )
        assert len(parsed.attributes_of("spot")) == len(names)
        assert parsed.attributes_of("pale") == []
        page = (tmp_path / "evaluation.html").read_text("utf-8")
        assert "nan" not in re.findall(r'<svg class="plot front".*?</svg>', page)[0]


def test_terminal_markdown_and_csv_show_the_same_costs(tmp_path):
    evaluation = four_systems(broken=CostBenchmark(note="failed: ValueError: the soup is cold"))
    out = io.StringIO()
    Console(file=out, width=170).print(metrics_table(evaluation))
    for output in (out.getvalue(), markdown_table(evaluation)):
        assert "211" in output
        assert "190 to 253" in output
        assert "cost of builtin; student; int8; dull: 8 posts, 5 repeats on A proc" in output
        assert "cost of broken: failed: ValueError: the soup is cold" in output.replace("\\", "")
        assert MACHINE in output.replace("\\", "")
    assert "| int8 | yes | 211 \\(190" in markdown_table(evaluation).replace("(", "\\(")
    write_metrics_csv(evaluation, tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(encoding="utf-8-sig", newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["kind"] == "cost"]
    assert len(rows) == 4 * len(COST_COLUMNS) + 1
    (rate,) = (r for r in rows if (r["system"], r["metric"]) == ("int8", "posts_per_second"))
    assert (float(rate["value"]), rate["n"], rate["unit"]) == (211.0, "8", "posts per second")
    assert MACHINE in rate["method"]
    assert rows[-1]["note"] == "failed: ValueError: the soup is cold"
    assert {r["note"] for r in rows if r["metric"] == "joules"} == {"not measurable here"}


@pytest.mark.parametrize("width", [40, 80])
def test_narrow_terminal_shows_every_cost(width):
    out = io.StringIO()
    Console(file=out, width=width).print(metrics_table(four_systems()))
    assert max(map(len, out.getvalue().splitlines())) <= width
    assert "211" in out.getvalue()
    assert "J per 1,000 posts: not measurable here" in " ".join(out.getvalue().split())


def test_costs_add_no_element_for_hostile_names(tmp_path):
    def result_with_name(bad: str) -> EvaluationResult:
        return result_with_costs({bad: cost_benchmark(3.0), "x": CostBenchmark(note=bad)})

    plain = render_result(tmp_path, result_with_name("plain")).shape()
    for bad in HOSTILE:
        if bad.strip() and bad != "x":
            assert render_result(tmp_path, result_with_name(bad)).shape() <= plain, bad


def test_shorten_name_keeps_the_distinguishing_end():
    first, second = (plot.shorten_name(f"student:a/very/long/way/to/{x}") for x in ("onnx", "int8"))
    assert first != second
    assert max(len(first), len(second)) <= plot.MAX_LABEL_CHARS
    assert len(pareto_points(four_systems())) == 4
