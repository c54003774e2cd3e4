"""Hostile text in an evaluation: its page, Markdown, CSV and terminal table stay intact."""

import csv
import io
import json

from rich.cells import cell_len
from rich.console import Console

from gen_msa.report.evaluation import markdown_table, metrics_table, write_metrics_csv
from gen_msa.results import EvaluationResult
from tests.report.evaluation.builders import NAMES, evaluation_result, render_result, system_result
from tests.report.test_hostile_input import FORMULAS, HOSTILE, hostile_example

LONG_TEXTS = ("x" * 5000, "👩‍👩‍👧" * 300, "שלום \u202e עולם", "ا" * 400)


def hostile_result(bad: str) -> EvaluationResult:
    """Put `bad` wherever text from outside can occur in a result."""
    clean_result = evaluation_result()
    json_text = clean_result.model_dump_json()
    for value in (
        *("Small talk, dev", "small_talk:dev", "image", "A Paper's Net"),
        *("Writer et al., Journal of Small Talk 12, table 3.", "predict/full@12ab34cd"),
        *("this system gives no explanations", "aspect visible in the image", "3 and more"),
        *(
            "Some of both, one could say; it depends.",
            "Share of gold opinions that were predicted correctly.",
        ),
        *("two systems disagree with gold", "McNemar, exact", "Holm over 6", "2 cores, 8 GB"),
        *("cluster bootstrap, 10000 replicates, seed 0", "13a, v2.5", "macro_f1", "quote_fidelity"),
        *("bleu: gold gives no explanations to compare with", "aspect_swap", "empty", NAMES[0]),
    ):
        json_text = json_text.replace(f'"{value}"', json.dumps(bad))
    return EvaluationResult.model_validate_json(json_text)


def test_page_adds_no_element_for_hostile_strings(tmp_path):
    plain = render_result(tmp_path, hostile_result("plain"), [hostile_example("plain")]).shape()
    for bad in HOSTILE:
        parsed = render_result(tmp_path, hostile_result(bad), [hostile_example(bad)])
        assert parsed.shape() <= plain, bad
        page = (tmp_path / "evaluation.html").read_text("utf-8").lower()
        assert page.count("<script") == 1, bad
        assert all(a["href"].startswith("#") for a in parsed.attributes_of("a"))


def test_metrics_csv_cells_start_no_formula(tmp_path):
    for bad in FORMULAS:
        path = tmp_path / "f.csv"
        write_metrics_csv(hostile_result(bad), path)
        with path.open(encoding="utf-8-sig", newline="") as f:
            rows = list(csv.reader(f))[1:]
        cells = [cell for row in rows for cell in (*row[:6], *row[10:])]
        assert [c for c in cells if c.lstrip()[:1] in set("=+-@＝＋－＠") and c] == [], bad
        assert any(c == "'" + bad for c in cells)


def test_markdown_escapes_hostile_text(tmp_path):
    output = markdown_table(hostile_result("a | b\n\n# <script>x</script> [l](http://x) `c`"))
    lines = output.splitlines()
    width = lines[0].count(" | ")
    assert all(line.replace("\\|", "").count(" | ") == width for line in lines if line[:1] == "|")
    assert "<script" not in output.replace("\\<", "")
    assert "](" not in output.replace("\\]", "")
    assert "http://" not in output


def test_long_text_fits_terminal_and_page(tmp_path):
    for bad in LONG_TEXTS:
        assert "Metrics" in render_result(tmp_path, hostile_result(bad)).text("h2")
        for width in (40, 80, 120):
            out = io.StringIO()
            Console(file=out, width=width).print(metrics_table(hostile_result(bad[:90])))
            assert max(map(cell_len, out.getvalue().splitlines())) <= width
            assert "\u202e" not in out.getvalue()


def test_terminal_escape_in_a_name_is_replaced():
    evaluation = evaluation_result(systems=(system_result("a\x1b[2Jb", 0),), comparisons=())
    out = io.StringIO()
    Console(file=out, width=200).print(metrics_table(evaluation))
    assert "\x1b" not in out.getvalue()
    assert "a�[2Jb" in out.getvalue()
