"""Which figures stand where, what each means, and which reader the paired tests call best.

Reads a `Result` and nothing else. Knows nothing of how a table is drawn.

    for d in headlines(result):
        print(d.family, d.name, [figure(r, d) for r in result.readers], best(result, d))
"""

from collections.abc import Iterable, Iterator

from gen_msa.report.evaluation.words import ALPHA, defined
from gen_msa.results import Definition, Published, ReaderResult, Result, Value


def key(d: Definition) -> str:
    """`family.figure`, as published figures are named."""
    return f"{d.family}.{d.name}" if d.name else d.family


def figure(reader: ReaderResult, d: Definition) -> Value | None:
    """One reader's value; None when it was not measured."""
    return reader.figures.get(d.family, {}).get(d.name)


def families(result: Result) -> dict[str, list[Definition]]:
    """Every family's figures in the order defined.

    What a reader or a paper has beyond that comes after, so that no figure goes unprinted.
    """
    out: dict[str, dict[str, Definition]] = {}
    for d in result.definitions:
        out.setdefault(d.family, {})[d.name] = d
    had = [(f, n) for r in result.readers for f, names in r.figures.items() for n in names]
    had += [(f, n) for p in result.published for f, _, n in (k.partition(".") for k in p.figures)]
    for family, name in had:
        out.setdefault(family, {}).setdefault(name, plain(family, name))
    return {family: list(members.values()) for family, members in out.items()}


def plain(family: str, name: str) -> Definition:
    """What is known of a figure that nobody defined: its name."""
    return Definition(family=family, name=name, about="", unit="score", better="")


def headlines(result: Result) -> list[Definition]:
    """The first figure of each family, and every figure that a paper printed.

    A family of which no reader has a single number is left to its own table, which says why.
    """
    printed = {name for p in result.published for name in p.figures}
    out = []
    for members in families(result).values():
        if any(_known(figure(r, d)) for r in result.readers for d in members):
            out += [d for at, d in enumerate(members) if at == 0 or key(d) in printed]
        else:
            out += [d for d in members if key(d) in printed]
    return out


def _known(value: Value | None) -> bool:
    return value is not None and defined(value.value)


def define(result: Result, name: str, hints: Iterable[str] = ()) -> Definition:
    """The definition of a figure of a slice or a probe: of the families hinted at, then of any.

    `name` may be `family.figure`. A figure that nobody defined is a plain score.
    """
    known = [d for members in families(result).values() for d in members]
    order = list(hints)
    fitting = [d for d in known if name in (d.name, key(d))]
    fitting.sort(key=lambda d: order.index(d.family) if d.family in order else len(order))
    return fitting[0] if fitting else plain("", name)


def best(result: Result, d: Definition) -> str | None:
    """The reader that is better than every other one by its paired test, after adjustment.

    None when a pair was not tested, when any test does not tell them apart, or with one reader.
    """
    names = [r.name for r in result.readers if _known(figure(r, d))]
    if len(names) < 2 or not d.better:
        return None
    beaten = set(_beaten(result, d))
    return next((a for a in names if all((a, b) in beaten for b in names if b != a)), None)


def _beaten(result: Result, d: Definition) -> Iterator[tuple[str, str]]:
    """(better, worse) of every pair that is told apart on this figure."""
    for c in result.comparisons:
        if (c.family, c.figure) != (d.family, d.name) or not c.p_adjusted < ALPHA:
            continue
        if c.difference and (c.difference > 0) == (d.better == "high"):
            yield c.a, c.b
        elif c.difference:
            yield c.b, c.a


def printed(published: Published, d: Definition) -> float | None:
    """A paper's figure; None when it prints none."""
    return published.figures.get(key(d))
