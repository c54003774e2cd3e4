r"""An evaluation as a LaTeX table: headline metrics in booktabs form.

Path("metrics.tex").write_text(latex_table(result), "utf-8")      # \usepackage{booktabs}
"""

from collections.abc import Sequence

from gen_msa.errors import UserError
from gen_msa.report.evaluation.format import (
    definitions_by_family,
    format_number,
    headline_definitions,
    is_defined,
    metric_key,
    metric_value,
    published_value,
    significantly_best,
)
from gen_msa.report.style import printable
from gen_msa.results import EvaluationResult, MetricDefinition, MetricValue

_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
}
_MISSING = "--"


def latex_table(result: EvaluationResult, metrics: Sequence[str] | None = None) -> str:
    """Render a booktabs table: a row for each system, with 95 % intervals or mean ± sd.

    Bold means: better than every other system by its paired test after adjustment. Published
    results are in italics.

    Args:
        result: The evaluation.
        metrics: The columns, such as `labels.accuracy`; None for those of the other tables.

    Returns:
        The table, for a document with `booktabs`.

    Raises:
        UserError: A metric was not computed.
    """
    columns = headline_definitions(result) if metrics is None else _definitions(result, metrics)
    best = [significantly_best(result, d) for d in columns]
    head = [_escape("System"), *(_escape(_column_name(d)) for d in columns)]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule", _row(head), r"\midrule"]
    for system in result.systems:
        cells = [
            _cell(metric_value(system, d), d, is_best=name == system.name)
            for d, name in zip(columns, best, strict=True)
        ]
        lines.append(_row([_escape(system.name), *cells]))
    if result.published:
        lines.append(r"\midrule")
    for published in result.published:
        values = [published_value(published, d) for d in columns]
        cells = [
            _escape(format_number(v, d.unit)) if is_defined(v) else _MISSING
            for v, d in zip(values, columns, strict=True)
        ]
        lines.append(_row([rf"\textit{{{_escape(published.name)}}}", *cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _definitions(result: EvaluationResult, names: Sequence[str]) -> list[MetricDefinition]:
    known = {
        metric_key(d): d for members in definitions_by_family(result).values() for d in members
    }
    for name in names:
        if name not in known:
            raise UserError(f"no metric {name!r} was computed", hint=f"one of: {', '.join(known)}")
    return [known[name] for name in names]


def _column_name(d: MetricDefinition) -> str:
    return metric_key(d) + (" (%)" if d.unit == "share" else "")


def _cell(value: MetricValue | None, d: MetricDefinition, *, is_best: bool) -> str:
    if value is None or not is_defined(value.value):
        return _MISSING
    number = _escape(format_number(value.value, d.unit))
    text = rf"\textbf{{{number}}}" if is_best else number
    if value.sd is not None:
        return rf"{text} $\pm$ {_escape(format_number(value.sd, d.unit))}"
    if not (is_defined(value.low) and is_defined(value.high)):
        return text
    low, high = (_escape(format_number(x, d.unit)) for x in (value.low, value.high))
    return f"{text} ({low}--{high})"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(c, c) for c in printable(text))
