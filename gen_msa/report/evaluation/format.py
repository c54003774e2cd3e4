"""How a figure is written: shares as percentages, an undefined one as a dash, minus as minus.

The page, the terminal and Markdown all write a figure with these, so that they agree to the digit.
Knows nothing of tables.

    number(0.8214, "share"), span(0.80, 0.84, "share")      # ("82.1", "80.0 to 84.0")
"""

from collections.abc import Iterable, Iterator
from math import isfinite

from gen_msa.results import (
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    PairedComparison,
    PublishedResult,
    SystemResult,
)

MISSING = "–"
"""What stands in the place of a figure that is not defined."""

ALPHA = 0.05
"""Adjusted p below which two readers are told apart."""

_DIGITS = {"share": 1, "points": 1, "score": 3, "nats": 3, "words": 1, "count": 0}
_SYMBOL = {"share": "%", "points": "points", "nats": "nats", "words": "words"}


def is_defined(x: float | None) -> bool:
    """Whether there is a number to print."""
    return x is not None and isfinite(x)


def to_display(x: float, unit: str) -> float:
    """The number as it is printed: a share as a percentage, all else as it is."""
    return 100 * x if unit == "share" else x


def format_number(x: float | None, unit: str, *, signed: bool = False) -> str:
    """One number in its unit's digits; `–` where there is none."""
    if x is None or not isfinite(x):
        return MISSING
    digits = _DIGITS.get(unit, 3)
    if unit == "count" and x != int(x):
        digits = 1
    text = f"{to_display(x, unit):,.{digits}f}"
    if not text.strip("-0.,"):  # "-0.0" would say that there is a sign
        text = text.lstrip("-")
    elif signed and x > 0:
        text = "+" + text
    return text.replace("-", "−")


def format_amount(x: float | None) -> str:
    """Three significant digits, without exponents for what people count."""
    if x is None or not isfinite(x):
        return MISSING
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def unit_symbol(unit: str) -> str:
    """The unit as it stands in a table's head; empty for a plain score."""
    return _SYMBOL.get(unit, "")


def format_interval(
    low: float | None, high: float | None, unit: str, *, signed: bool = False
) -> str:
    """An interval, or nothing when there is none."""
    if not (is_defined(low) and is_defined(high)):
        return ""
    return (
        f"{format_number(low, unit, signed=signed)} to {format_number(high, unit, signed=signed)}"
    )


def format_with_interval(value: MetricValue | None, unit: str) -> str:
    """A figure and its interval in one line of plain text: `82.1 [80.0, 84.3]`."""
    if value is None:
        return MISSING
    text = format_number(value.value, unit)
    if text == MISSING or not format_interval(value.low, value.high, unit):
        return text
    return f"{text} [{format_number(value.low, unit)}, {format_number(value.high, unit)}]"


def format_p_value(p: float) -> str:
    """A p value with two significant digits at most, never `0`."""
    if not isfinite(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def format_seed_spread(value: MetricValue, unit: str) -> str:
    """Spread over seeds, where a reader was trained more than once: `±0.8 over 3 seeds`."""
    k = len(value.seeds)
    if k < 2:
        return ""
    mean = sum(value.seeds) / k
    sd = (sum((x - mean) ** 2 for x in value.seeds) / (k - 1)) ** 0.5
    return f"±{format_number(sd, unit)} over {k} seeds"


def format_unparsed(system: SystemResult) -> str:
    """Answers that could not be read, as a count and a share of gold's opinions."""
    count = len(system.unparsed)
    return (
        f"{count:,} ({format_number(count / system.rows, 'share')} %)" if system.rows else MISSING
    )


def comparison_verdict(c: PairedComparison, better: str) -> str:
    """What the adjusted test says, in words."""
    if not isfinite(c.p_adjusted) or c.p_adjusted >= ALPHA or c.difference == 0:
        return "no significant difference"
    leader = c.a if c.difference > 0 else c.b
    if not better:
        return f"{leader} is higher"
    return f"{leader if better == 'high' else c.b if leader == c.a else c.a} is better"


def metric_key(d: MetricDefinition) -> str:
    """`family.figure`, as published figures are named."""
    return f"{d.family}.{d.name}" if d.name else d.family


def metric_value(system: SystemResult, d: MetricDefinition) -> MetricValue | None:
    """One reader's value; None when it was not measured."""
    return system.metrics.get(d.family, {}).get(d.name)


def definitions_by_family(result: EvaluationResult) -> dict[str, list[MetricDefinition]]:
    """Every family's figures in the order defined.

    What a reader or a paper has beyond that comes after, so that no figure goes unprinted.
    """
    out: dict[str, dict[str, MetricDefinition]] = {}
    for d in result.definitions:
        out.setdefault(d.family, {})[d.name] = d
    reported = [(f, n) for r in result.systems for f, names in r.metrics.items() for n in names]
    reported += [
        (f, n) for p in result.published for f, _, n in (k.partition(".") for k in p.metrics)
    ]
    for family, name in reported:
        out.setdefault(family, {}).setdefault(name, default_definition(family, name))
    return {family: list(members.values()) for family, members in out.items()}


def default_definition(family: str, name: str) -> MetricDefinition:
    """What is known of a figure that nobody defined: its name."""
    return MetricDefinition(family=family, name=name, about="", unit="score", better="")


def headline_definitions(result: EvaluationResult) -> list[MetricDefinition]:
    """The first figure of each family, and every figure that a paper printed.

    A family of which no reader has a single number is left to its own table, which says why.
    """
    published_names = {name for p in result.published for name in p.metrics}
    out = []
    for members in definitions_by_family(result).values():
        if any(_has_number(metric_value(r, d)) for r in result.systems for d in members):
            out += [
                d
                for index, d in enumerate(members)
                if index == 0 or metric_key(d) in published_names
            ]
        else:
            out += [d for d in members if metric_key(d) in published_names]
    return out


def _has_number(value: MetricValue | None) -> bool:
    return value is not None and is_defined(value.value)


def find_definition(
    result: EvaluationResult, name: str, hints: Iterable[str] = ()
) -> MetricDefinition:
    """The definition of a figure of a slice or a probe: of the families hinted at, then of any.

    `name` may be `family.figure`. A figure that nobody defined is a plain score.
    """
    definitions = [d for members in definitions_by_family(result).values() for d in members]
    hint_order = list(hints)
    matching = [d for d in definitions if name in (d.name, metric_key(d))]
    matching.sort(
        key=lambda d: hint_order.index(d.family) if d.family in hint_order else len(hint_order)
    )
    return matching[0] if matching else default_definition("", name)


def significantly_best(result: EvaluationResult, d: MetricDefinition) -> str | None:
    """The reader that is better than every other one by its paired test, after adjustment.

    None when a pair was not tested, when any test does not tell them apart, or with one reader.
    """
    names = [r.name for r in result.systems if _has_number(metric_value(r, d))]
    if len(names) < 2 or not d.better:
        return None
    won_pairs = set(_significant_pairs(result, d))
    return next((a for a in names if all((a, b) in won_pairs for b in names if b != a)), None)


def _significant_pairs(result: EvaluationResult, d: MetricDefinition) -> Iterator[tuple[str, str]]:
    """(better, worse) of every pair that is told apart on this figure."""
    for c in result.comparisons:
        if (c.family, c.metric) != (d.family, d.name) or not c.p_adjusted < ALPHA:
            continue
        if c.difference and (c.difference > 0) == (d.better == "high"):
            yield c.a, c.b
        elif c.difference:
            yield c.b, c.a


def published_value(published: PublishedResult, d: MetricDefinition) -> float | None:
    """A paper's figure; None when it prints none."""
    return published.metrics.get(metric_key(d))
