"""Which figures stand where, what each means, and which reader the paired tests call best.

Reads a `Result` and nothing else. Knows nothing of how a table is drawn.

    for d in headlines(result):
        print(d.family, d.name, [figure(r, d) for r in result.readers], best(result, d))
"""

from collections.abc import Iterable, Iterator

from gen_msa.report.evaluation.words import ALPHA, is_defined
from gen_msa.results import MetricDefinition, PublishedResult, SystemResult, EvaluationResult, MetricValue


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
    reported += [(f, n) for p in result.published for f, _, n in (k.partition(".") for k in p.metrics)]
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
            out += [d for index, d in enumerate(members) if index == 0 or metric_key(d) in published_names]
        else:
            out += [d for d in members if metric_key(d) in published_names]
    return out


def _has_number(value: MetricValue | None) -> bool:
    return value is not None and is_defined(value.value)


def find_definition(result: EvaluationResult, name: str, hints: Iterable[str] = ()) -> MetricDefinition:
    """The definition of a figure of a slice or a probe: of the families hinted at, then of any.

    `name` may be `family.figure`. A figure that nobody defined is a plain score.
    """
    definitions = [d for members in definitions_by_family(result).values() for d in members]
    hint_order = list(hints)
    matching = [d for d in definitions if name in (d.name, metric_key(d))]
    matching.sort(key=lambda d: hint_order.index(d.family) if d.family in hint_order else len(hint_order))
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
