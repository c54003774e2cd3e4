"""Mean and standard deviation over seeds stand in the terminal, Markdown, CSV and LaTeX."""

import csv

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation.evaluate import mean_over_seeds
from gen_msa.report.evaluation import latex_table, markdown_table, write_metrics_csv
from tests.report.evaluation.builders import evaluation_result
from tests.report.evaluation.test_result_tables import render_terminal


def with_seeds():
    """Return an evaluation whose first system was trained with two more seeds."""
    result = evaluation_result()
    first = result.systems[0]

    def shifted(name, shift):
        metrics = {
            family: {
                n: v if v.value is None else v.model_copy(update={"value": v.value + shift})
                for n, v in values.items()
            }
            for family, values in first.metrics.items()
        }
        return first.model_copy(update={"name": name, "metrics": metrics})

    seeds = [first, shifted("seed & 1", 0.01), shifted("seed 2", 0.02)]
    systems = (*seeds, mean_over_seeds(first.name, seeds), *result.systems[1:])
    return result.model_copy(update={"systems": systems})


def accuracy(result):
    return result.systems[3].metrics["labels"]["accuracy"]


def test_terminal_and_markdown_show_mean_and_sd():
    result = with_seeds()
    value = accuracy(result)
    text = f"{100 * value.value:.1f} ± 1.0"
    assert value.sd == pytest.approx(0.01)
    assert text in " ".join(render_terminal(result).split())
    assert f"| {text} |" in markdown_table(result)


def test_csv_has_columns_for_the_spread(tmp_path):
    write_metrics_csv(with_seeds(), tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open(encoding="utf-8-sig", newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["metric"] == "accuracy"]
    (mean,) = (r for r in rows if "mean of 3 seeds" in r["system"] and r["kind"] == "measured")
    assert float(mean["sd"]) == pytest.approx(0.01)
    assert mean["n_seeds"] == "3"
    assert len(mean["seeds"].split()) == 3
    assert mean["note"] == ""
    assert all(r["sd"] == r["n_seeds"] == "" for r in rows if r["kind"] == "comparison")


def test_latex_shows_spread_interval_best_and_published():
    result = with_seeds()
    lines = latex_table(result).splitlines()
    mean_row = next(line for line in lines if "mean of 3 seeds" in line)
    assert rf"{100 * accuracy(result).value:.1f} $\pm$ 1.0" in mean_row
    assert any(r"seed \& 1" in line for line in lines)
    assert any(r"\textit{A Paper's Net}" in line for line in lines)
    first_row = next(line for line in lines if line.startswith("builtin"))
    assert "78.1 (75.6--80.3)" in first_row.replace(r"\textbf{78.1}", "78.1")
    n_columns = lines[2].count("&")
    assert lines[0] == rf"\begin{{tabular}}{{l{'r' * n_columns}}}"
    assert all(line.count("&") - line.count(r"\&") == n_columns for line in lines if "&" in line)


def test_latex_of_chosen_metrics():
    table = latex_table(evaluation_result(), ["labels.accuracy"])
    assert table.startswith(r"\begin{tabular}{lr}")
    with pytest.raises(UserError, match="no metric"):
        latex_table(evaluation_result(), ["labels.acuracy"])
