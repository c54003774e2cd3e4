"""What a person sees of an evaluation: one HTML page, a terminal table, Markdown and a CSV.

All four are drawn from a `Result` and from nothing else, so that a figure reads the same in each
and a results.json on disk gives the same tables again. Knows nothing of metrics or readers.

    result = Result.model_validate_json(Path("results.json").read_text("utf-8"))
    write_evaluation(result, examples, Path("evaluation.html"), Path("pictures"))
    rich.print(table(result))
    Path("figures.md").write_text(markdown(result), "utf-8")
    write_figures(result, Path("figures.csv"))
"""

from gen_msa.report.evaluation.page import write_evaluation
from gen_msa.report.evaluation.result_tables import markdown_table, metrics_table, write_metrics_csv

__all__ = ["markdown_table", "metrics_table", "write_evaluation", "write_metrics_csv"]
