"""An evaluation as a Markdown table, for a README or a model card.

Foreign words are escaped: a name can open no column, no link and no HTML. Knows nothing of files.

    print(markdown(result))
"""

import re
from collections.abc import Iterable

from gen_msa.report.evaluation.columns import significantly_best, metric_value, headline_definitions, published_value
from gen_msa.report.evaluation.costs import COST_COLUMNS, cost_rows, cost_notes
from gen_msa.report.evaluation.words import MISSING, format_with_interval, format_number, unit_symbol, format_unparsed
from gen_msa.report.visible import printable
from gen_msa.results import EvaluationResult

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~$&])")


def escape_markdown(text: str) -> str:
    """Words as they are, with every character that Markdown would take for its own escaped."""
    return _SPECIAL.sub(r"\\\1", printable(text)).replace("://", ":\u200b//")


def markdown_table(result: EvaluationResult) -> str:
    """Headline figures with 95 % intervals, papers' rows in italics, and what they rest on.

    Bold means: better than every other reader by its paired test after adjustment.
    """
    columns = headline_definitions(result)
    heads = [f"{d.name.replace('_', ' ')} {unit_symbol(d.unit)}".strip() for d in columns]
    lines = [
        _markdown_row(["reader", "n", "unread", *map(escape_markdown, heads)]),
        _markdown_row(["---"] + ["---:"] * (len(heads) + 2)),
    ]
    best_systems = [significantly_best(result, d) for d in columns]
    for r in result.systems:
        cells = [
            f"**{escape_markdown(text)}**" if best_name == r.name else escape_markdown(text)
            for d, best_name in zip(columns, best_systems, strict=True)
            for text in [format_with_interval(metric_value(r, d), d.unit)]
        ]
        lines.append(_markdown_row([escape_markdown(r.name), f"{r.rows:,}", format_unparsed(r), *cells]))
    for p in result.published:
        values = [format_number(published_value(p, d), d.unit) for d in columns]
        lines.append(_markdown_row([f"*{escape_markdown(p.name)}*, printed", MISSING, MISSING, *values]))
    return "\n".join([*lines, "", *_markdown_costs(result), *_markdown_notes(result)]) + "\n"


def _markdown_costs(result: EvaluationResult) -> list[str]:
    """What reading costs, each figure with the least and the most of its laps; nothing if none."""
    rows = cost_rows(result)
    if not rows:
        return []
    heads = ["reader", "frontier", *COST_COLUMNS.values()]
    lines = [_markdown_row(heads), _markdown_row(["---"] * 2 + ["---:"] * len(COST_COLUMNS))]
    for c in rows:
        cells = [escape_markdown(f"{value} ({note})" if note else value) for value, note in c.cells]
        lines.append(_markdown_row([escape_markdown(c.system), "yes" if c.frontier else MISSING, *cells]))
    return [*lines, "", *(f"- {escape_markdown(text)}" for text in cost_notes(rows))]


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_notes(result: EvaluationResult) -> list[str]:
    """The lines below the table: scope, sources and notes."""
    scope = (
        f"{result.data}: {result.rows:,} rows in {result.clusters:,} clusters by "
        f"{result.clustered_by}, against {result.reference}. 95 % intervals, "
        f"{result.replicates:,} replicates, seed {result.seed}. Data sha256 "
        f"{result.data_sha256[:12]}, gen_msa {result.version}."
    )
    lines = [scope]
    lines += [f"{p.name}: printed in {p.source}. {p.protocol}" for p in result.published]
    lines += result.notes
    lines += [f"{r.name}: {note}" for r in result.systems for note in r.notes]
    return [f"- {escape_markdown(text)}" for text in lines]
