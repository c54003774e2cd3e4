"""Evaluation reports: one HTML page, a terminal table, Markdown, LaTeX and a CSV.

All of them are drawn from an `EvaluationResult` and from nothing else, so that a value reads the
same in each, and results.json on disk gives the same tables again.

    result = EvaluationResult.model_validate_json(Path("results.json").read_text("utf-8"))
    write_evaluation(result, examples, Path("evaluation.html"), Path("images"))
    rich.print(metrics_table(result))
    Path("metrics.md").write_text(markdown_table(result), "utf-8")
    write_metrics_csv(result, Path("metrics.csv"))
"""

from gen_msa.report.evaluation.latex import latex_table
from gen_msa.report.evaluation.page import write_evaluation
from gen_msa.report.evaluation.result_tables import markdown_table, metrics_table, write_metrics_csv

__all__ = [
    "latex_table",
    "markdown_table",
    "metrics_table",
    "write_evaluation",
    "write_metrics_csv",
]
