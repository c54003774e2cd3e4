"""What readers cost beside what they are worth: the frontier, its plot and its tables."""

import csv
import io
import re
from itertools import combinations
from math import log10

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gen_msa.report.evaluation import frontier as plot
from gen_msa.report.evaluation import markdown, table, write_figures
from gen_msa.report.evaluation.costs import COSTS, Point, costed, frontier, points
from gen_msa.report.evaluation.scales import powers
from gen_msa.report.evaluation.words import amount
from gen_msa.results import Costing, Result, Value
from tests.report.evaluation.making import reader, result, shown
from tests.report.test_hostile import HOSTILE

MACHINE = "A processor, 1 thread of 2 cores; Python 3.11.7"
SPEED = {"builtin": 0.52, "student": 23.0, "int8": 211.0, "dull": 14.0}
WORTH = {"builtin": 0.74, "student": 0.72, "int8": 0.70, "dull": 0.55}


def timed(rate: float, **more: Value) -> Costing:
    how = "median, least and most of 5 laps"
    energy = Value(value=None, n=8, note="not measurable here")
    figures = {
        "posts_per_second": Value(value=rate, n=8, low=rate * 0.9, high=rate * 1.2, how=how),
        "cpu_seconds": Value(value=980 / rate, n=8, low=900 / rate, high=1100 / rate, how=how),
        "megabytes": Value(value=91.4, n=8),
        "peak_megabytes": Value(value=612.4, n=8),
        "joules": energy,
    }
    return Costing(
        figures={**figures, **more}, reader_sha256="ab" * 32, posts=8, laps=5, machine=MACHINE
    )


def made(costings: dict[str, Costing | None], worths: dict[str, float] = WORTH) -> Result:
    """A result whose readers have these costs, and an accuracy each."""
    readers = []
    for name, found in costings.items():
        x = worths.get(name, 0.6)
        accuracy = Value(value=x, n=900, low=x - 0.03, high=x + 0.02, how="bootstrap")
        figures = {"labels": {"accuracy": accuracy}}
        readers.append(reader(name, 0, figures=figures, costing=found))
    return result(readers=tuple(readers), comparisons=(), probes={}, disagreements=())


def four(**more: Costing | None) -> Result:
    return made({**{n: timed(r) for n, r in SPEED.items()}, **more})


def point(rate: float, value: float, at: int = 0, name: str = "r", size: str = "91.4 MB") -> Point:
    return Point(at, name, rate, value, value - 0.02, value + 0.02, size, name)


RATES = st.floats(0.01, 1e4)
SHARES = st.sampled_from([0.5, 0.6, 0.61, 0.7]) | st.floats(0, 1)
MANY = st.lists(st.tuples(RATES, SHARES), max_size=12)


def beats(a: Point, b: Point) -> bool:
    return a.rate >= b.rate and a.value >= b.value and (a.rate > b.rate or a.value > b.value)


@given(MANY)
def test_a_reader_is_on_the_frontier_just_when_none_dominates_it(pairs):
    found = [point(r, v, i) for i, (r, v) in enumerate(pairs)]
    best = frontier(found)
    for p in found:
        assert (p in best) == (not any(beats(q, p) for q in found))
    assert bool(best) == bool(found)
    assert all(any(beats(q, p) for q in best) for p in found if p not in best)
    speeds = [p.rate for p in best]
    assert speeds == sorted(speeds)
    worths = [p.value for p in best]
    assert worths == sorted(worths, reverse=True)


@given(st.lists(st.tuples(RATES, st.floats(0.5, 0.8)), min_size=1, max_size=8))
def test_no_label_covers_another_or_leaves_the_field(pairs):
    found = [point(r, v, i, f"student {i}, labels") for i, (r, v) in enumerate(pairs)]
    across, lows = powers([r for r, _ in pairs]), 0.5
    spots = [
        plot.Spot(p, 40 + 300 * across.at(log10(p.rate)), y, y - 8, y + 8)
        for p in found
        for y in [250 - 700 * (p.value - lows)]
    ]
    boxes = [plot.box(s, one) for s, one in zip(spots, plot.labels(spots), strict=True)]
    assert all(b[0] >= plot.LEFT and b[2] <= plot.WIDE for b in boxes)
    assert all(b[1] >= 0 and b[3] <= plot.BOTTOM for b in boxes)
    for a, b in combinations(boxes, 2):
        assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


@given(st.lists(st.floats(1e-4, 1e6), max_size=9))
def test_a_logarithmic_axis_holds_every_value_and_few_marks(values):
    found = powers(values)
    assert all(found.low < log10(v) < found.high for v in values)
    assert len(found.ticks) <= 7
    assert all(found.low <= t <= found.high for t in found.ticks)


def test_one_point_a_costed_reader_and_the_dominated_one_is_pale(tmp_path):
    res = four(
        majority=Costing(note="recorded: no cost of its own"),
        broken=Costing(note="failed: ValueError: the soup is cold"),
    )
    seen = shown(tmp_path, res)
    assert len(seen.of("spot")) == 4
    assert len(seen.of("pale")) == 1
    assert len(seen.of("step")) == 1
    assert [c.reader for c in costed(res) if c.frontier] == ["builtin", "student", "int8"]
    (front,) = seen.of("front")
    assert set(front["aria-labelledby"].split()) <= {a["id"] for _, a in seen.elements if "id" in a}
    told = seen.text("desc")
    assert "int8: 211 posts a second, 70.0 [67.0, 72.0], 91.4 MB, on the frontier" in told
    assert "dull: 14 posts a second, 55.0 [52.0, 57.0], 91.4 MB" in told
    assert seen.text("desc").count("on the frontier") == 3
    assert "recorded: no cost of its own" in seen.text("why")
    assert "failed: ValueError: the soup is cold" in seen.text("why")
    assert "not measurable here" in seen.text("costs")
    ids = [a["id"] for _, a in seen.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_numbers_of_the_page_are_those_of_the_json(tmp_path):
    again = Result.model_validate_json(four().model_dump_json())
    said = shown(tmp_path, again).text("costs")
    for r in again.readers:
        assert r.costing.reader_sha256 == "ab" * 32
        for name in COSTS:
            value = r.costing.figures[name]
            assert amount(value.value) in said
            if value.low is not None:
                assert f"{amount(value.low)} to {amount(value.high)}" in said
    assert MACHINE in said
    assert "8 posts a lap, 5 laps" in said


def test_where_nothing_was_timed_there_is_no_plot_and_no_section(tmp_path):
    seen = shown(tmp_path, result())
    assert seen.of("front") == []
    assert "What it costs" not in seen.text("h2")
    alone = shown(tmp_path, made({"majority": Costing(note="recorded: no cost of its own")}))
    assert alone.of("front") == []
    assert "recorded: no cost of its own" in alone.text("why")


def test_the_plot_of_one_reader_and_of_equal_readers_is_drawn(tmp_path):
    for names in (["a"], ["a", "b", "c"]):
        seen = shown(tmp_path, made(dict.fromkeys(names, timed(3.0))))
        assert len(seen.of("spot")) == len(names)
        assert seen.of("pale") == []
        page = (tmp_path / "evaluation.html").read_text("utf-8")
        assert "nan" not in re.findall(r'<svg class="plot front".*?</svg>', page)[0]


def test_terminal_markdown_and_csv_have_the_same_costs(tmp_path):
    res = four(broken=Costing(note="failed: ValueError: the soup is cold"))
    out = io.StringIO()
    Console(file=out, width=170).print(table(res))
    for said in (out.getvalue(), markdown(res)):
        assert "211" in said
        assert "190 to 253" in said
        assert "cost of builtin; student; int8; dull: 8 posts a lap, 5 laps on A proc" in said
        assert "cost of broken: failed: ValueError: the soup is cold" in said.replace("\\", "")
        assert MACHINE in said.replace("\\", "")
    assert "| int8 | yes | 211 \\(190" in markdown(res).replace("(", "\\(")
    write_figures(res, tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(encoding="utf-8-sig", newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["kind"] == "cost"]
    assert len(rows) == 4 * len(COSTS) + 1
    (rate,) = (r for r in rows if (r["by"], r["figure"]) == ("int8", "posts_per_second"))
    assert (float(rate["value"]), rate["n"], rate["unit"]) == (211.0, "8", "posts a second")
    assert MACHINE in rate["how"]
    assert rows[-1]["note"] == "failed: ValueError: the soup is cold"
    assert {r["note"] for r in rows if r["figure"] == "joules"} == {"not measurable here"}


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_shows_every_cost(width):
    out = io.StringIO()
    Console(file=out, width=width).print(table(four()))
    assert max(map(len, out.getvalue().splitlines())) <= width
    assert "211" in out.getvalue()
    assert "J for 1,000 posts: not measurable here" in " ".join(out.getvalue().split())


def test_hostile_names_and_errors_add_no_element(tmp_path):
    def of(bad: str) -> Result:
        return made({bad: timed(3.0), "x": Costing(note=bad)})

    plain = shown(tmp_path, of("plain")).shape()
    for bad in HOSTILE:
        if bad.strip() and bad != "x":
            assert shown(tmp_path, of(bad)).shape() <= plain, bad


def test_a_long_path_keeps_the_end_that_tells_it_from_others():
    one, other = (plot.short(f"student:a/very/long/way/to/{x}") for x in ("onnx", "int8"))
    assert one != other
    assert max(len(one), len(other)) <= plot.LONGEST
    assert len(points(four())) == 4
