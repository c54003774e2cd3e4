"""An evaluation as a Markdown table, for a README or a model card.

Foreign words are escaped: a name can open no column, no link and no HTML. Knows nothing of files.

    print(markdown(result))
"""

import re
from collections.abc import Iterable

from gen_msa.report.evaluation.columns import best, figure, headlines, printed
from gen_msa.report.evaluation.costs import COSTS, costed, remarks
from gen_msa.report.evaluation.words import NONE, bracketed, number, symbol, unread
from gen_msa.report.visible import printable
from gen_msa.results import Result

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~$&])")


def safe(text: str) -> str:
    """Words as they are, with every character that Markdown would take for its own escaped."""
    return _SPECIAL.sub(r"\\\1", printable(text)).replace("://", ":\u200b//")


def markdown(result: Result) -> str:
    """Headline figures with 95 % intervals, papers' rows in italics, and what they rest on.

    Bold means: better than every other reader by its paired test after adjustment.
    """
    columns = headlines(result)
    heads = [f"{d.name.replace('_', ' ')} {symbol(d.unit)}".strip() for d in columns]
    lines = [
        _line(["reader", "n", "unread", *map(safe, heads)]),
        _line(["---"] + ["---:"] * (len(heads) + 2)),
    ]
    firsts = [best(result, d) for d in columns]
    for r in result.readers:
        cells = [
            f"**{safe(said)}**" if told == r.name else safe(said)
            for d, told in zip(columns, firsts, strict=True)
            for said in [bracketed(figure(r, d), d.unit)]
        ]
        lines.append(_line([safe(r.name), f"{r.rows:,}", unread(r), *cells]))
    for p in result.published:
        shown = [number(printed(p, d), d.unit) for d in columns]
        lines.append(_line([f"*{safe(p.name)}*, printed", NONE, NONE, *shown]))
    return "\n".join([*lines, "", *_costs(result), *_under(result)]) + "\n"


def _costs(result: Result) -> list[str]:
    """What reading costs, each figure with the least and the most of its laps; nothing if none."""
    rows = costed(result)
    if not rows:
        return []
    heads = ["reader", "frontier", *COSTS.values()]
    lines = [_line(heads), _line(["---"] * 2 + ["---:"] * len(COSTS))]
    for c in rows:
        cells = [safe(f"{said} ({note})" if note else said) for said, note in c.cells]
        lines.append(_line([safe(c.reader), "yes" if c.frontier else NONE, *cells]))
    return [*lines, "", *(f"- {safe(text)}" for text in remarks(rows))]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _under(result: Result) -> list[str]:
    """The lines below the table: scope, sources and notes."""
    scope = (
        f"{result.data}: {result.rows:,} rows in {result.clusters:,} clusters by "
        f"{result.clustered_by}, against {result.against}. 95 % intervals, "
        f"{result.replicates:,} replicates, seed {result.seed}. Data sha256 "
        f"{result.data_sha256[:12]}, gen_msa {result.version}."
    )
    said = [scope]
    said += [f"{p.name}: printed in {p.source}. {p.protocol}" for p in result.published]
    said += result.notes
    said += [f"{r.name}: {note}" for r in result.readers for note in r.notes]
    return [f"- {safe(text)}" for text in said]
