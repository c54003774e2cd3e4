"""The page of an evaluation: every metric, test, plot, note and selected row."""

import base64
import hashlib
import re

from gen_msa.results import EvaluationResult, MetricValue, PairedComparison, SelectedRow
from tests.report.evaluation.builders import (
    NAMES,
    TERMS,
    comparison,
    evaluation_result,
    examples,
    metric_value,
    render_result,
    system_result,
)


def test_header_states_data_and_method(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert "small_talk:dev: 900 rows in 450 posts, 3 systems against gold" in parsed.text("lead")
    assert "2 rows of the source could not be read" in parsed.text("lead")
    for fact in ("411 by image", "10,000", "9f2c" * 16, "0.4.0", "predict/full@12ab34cd"):
        assert fact in parsed.text("facts")


def test_grid_shows_metrics_with_intervals_and_bars(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    metrics_text = parsed.text("metrics")
    for text in ("78.1", "75.6 to 80.3", "74.2", "58.8", "7 (0.8 %)", "±1.0 over 3 seeds"):
        assert text in parsed.text("grid")
    assert metrics_text == ""
    assert len(parsed.attributes_of("ib")) > 20


def test_published_row_is_cited_with_its_protocol(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert "79.4" in parsed.text("published")
    assert "published" in parsed.text("tag")
    assert "Writer et al., Journal of Small Talk 12, table 3." in parsed.text("cite")
    assert "mean of 5 seeds, best epoch on dev" in parsed.text("cite")
    assert (
        len(parsed.attributes_of("hollow")) == 4
    )  # two metrics, each in the headline and in its family


def test_bold_needs_every_paired_test(tmp_path):
    bold_text = render_result(tmp_path, evaluation_result()).text("best")
    assert bold_text.startswith("78.1★")  # better than both by accuracy
    assert "74.1" not in bold_text  # not significantly better than the second by macro-F1
    assert render_result(tmp_path, evaluation_result(comparisons=())).attributes_of("best") == []


def test_undefined_metric_is_a_dash_with_its_reason(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert "–this system gives no explanations" in parsed.text("fig")
    single_system = system_result("a", 0).model_copy(
        update={"metrics": {"labels": {"accuracy": metric_value(float("nan"))}}}
    )
    text = render_result(
        tmp_path, evaluation_result(systems=(single_system,), comparisons=(), published=())
    ).text("fig")
    assert "–undefined, no reason given" in text
    assert "nan" not in text


def test_every_note_is_printed(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert "Explanations were scored without references" in parsed.text("notes")
    assert parsed.text("notes").count("bleu: gold gives no explanations to compare with") == 3


def test_metric_families_list_their_definitions(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert "2TP / (2TP + FP + FN) of negative." in parsed.text("defs")
    assert "13a, v2.5" in parsed.text("defs")
    for family in ("labels", "calibration", "text_stats", "quote_fidelity", "bleu"):
        assert family in parsed.text("summary")


def test_comparisons_show_difference_test_and_p_values(tmp_path):
    table_text = render_result(tmp_path, evaluation_result()).text("tr")
    assert (
        "+3.9 points+0.9 to +6.9McNemar, exact0.0040.012Holm over 6builtin is better" in table_text
    )
    assert "permutation, 10000, seed 00.200.60Holm over 6no significant difference" in table_text


def test_lower_system_is_better_where_low_is_good(tmp_path):
    compared = comparison(NAMES[0], NAMES[1], -0.03, 0.001)
    ece = PairedComparison(**{**compared.model_dump(), "family": "calibration", "metric": "ece"})
    assert "builtin is better" in render_result(
        tmp_path, evaluation_result(comparisons=(ece,))
    ).text("tr")


def test_plots_are_drawn_for_every_system(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert len(parsed.attributes_of("heat")) == 3
    assert "234 78 %" in parsed.text("heat")
    assert len(parsed.attributes_of("rel")) == 3
    assert len([a for a in parsed.attributes_of("plot") if "rel" not in a["class"]]) == 1 + 5
    assert {a["aria-label"] for a in parsed.attributes_of("plot")} >= {
        "accuracy by negation",
        "f1 by class",
    }
    assert "90 answers, confidence 96.7 %" in parsed.text("title")
    assert "n 450" in parsed.text("nt")


def test_probes_and_costs_have_tables(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert "aspect swap" in parsed.text("sub")
    assert "no other aspect in any post" in parsed.text("why")
    assert "the answers were recorded" in parsed.text("under")
    assert "10.8" in parsed.text("num")  # 450 posts in 41.5 seconds


def test_unparsed_answers_are_shown_in_full(tmp_path):
    parsed = render_result(tmp_path, evaluation_result())
    assert parsed.text("pre").count("pos/neg " * 400) == 2
    assert "7: 3 unparsed, 2 empty, 2 length" in parsed.text("summary")
    assert "(no text)" in parsed.text("missing")


def test_selected_row_shows_only_its_aspect(tmp_path):
    parsed = render_result(tmp_path, evaluation_result(disagreements=()), examples(9))
    selected = [a for a in parsed.attributes_of("article") if a["id"].startswith("p-")]
    assert [a["aria-label"] for a in selected] == ["post post-2", "post post-1"]
    assert "names its aspect and quotes the post" in parsed.text("pick-reason")
    text = parsed.text("pick")
    assert sum(term in text for term in TERMS) <= 4  # each text has two, each row one
    assert len(parsed.attributes_of("article")) == 2 + 9


def test_selected_row_beyond_limit_is_shown_and_missing_one_named(tmp_path):
    evaluation = evaluation_result(disagreements=(SelectedRow(post="nowhere", aspect="tea"),))
    parsed = render_result(tmp_path, evaluation, examples(9), limit=1)
    assert "The examples have no row of post nowhere about tea" in parsed.text("notice")
    assert "Showing the first 1 of 9 posts" in parsed.text("notice")
    assert [a["id"] for a in parsed.attributes_of("article")] == ["p-2", "p-1", "p1"]


def test_page_limits_selected_rows(tmp_path):
    rows = tuple(SelectedRow(post=f"post-{i}", aspect="x") for i in range(250))
    assert "50 more rows are in results.json" in render_result(
        tmp_path, evaluation_result(worst=rows)
    ).text("counts")


def test_repeated_image_is_stored_once(tmp_path):
    images = render_result(tmp_path, evaluation_result(), examples(30)).attributes_of("img")
    assert (
        sum("data-src" in a for a in images) == 1
    )  # the fake thumbnail is the same for every path
    assert len({a["id"] for a in images if "id" in a}) == 1
    assert sum("data-like" in a for a in images) == len(images) - 1 > 20


def test_cards_past_the_first_hundred_are_in_templates(tmp_path):
    for posts, templates in ((100, 0), (101, 1), (150, 1), (151, 2), (230, 3)):
        parsed = render_result(tmp_path, evaluation_result(), examples(posts))
        assert len(parsed.attributes_of("template")) == templates
        ids = [a["id"] for a in parsed.attributes_of("article")]
        assert [i for i in ids if i[1] != "-"] == [f"p{n}" for n in range(1, posts + 1)]


def test_ids_are_unique(tmp_path):
    parsed = render_result(tmp_path, evaluation_result(), examples(20))
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in parsed.attributes_of("a")]
    assert set(targets) <= set(ids)


def test_page_with_another_reference(tmp_path):
    parsed = render_result(tmp_path, evaluation_result(reference="builtin"), examples(3))
    assert "agrees with builtin" in parsed.text("verdict")
    assert parsed.text("goldchip").startswith("builtin ")
    assert {a["data-annotator"] for a in parsed.attributes_of("li") if "data-annotator" in a} == {
        "gold",
        *NAMES[1:],
    }


def test_page_of_empty_result(tmp_path):
    empty_result = evaluation_result(
        systems=(), comparisons=(), published=(), probes={}, definitions=(), notes=(), best=(),
        worst=(), disagreements=(), rows=0, posts=0, clusters=0,
    )  # fmt: skip
    parsed = render_result(tmp_path, empty_result)
    assert "No system was evaluated." in parsed.text("notice")
    assert "No metric could be computed" in parsed.text("notice")
    assert "No posts were given." in parsed.text("part") + parsed.text("p")


def test_page_of_one_row_and_one_system(tmp_path):
    evaluation = evaluation_result(
        rows=1, posts=1, systems=(system_result("a", 0, rows=1),), comparisons=(), probes={}
    )
    parsed = render_result(tmp_path, evaluation, examples(1))
    assert "1 row in 1 post, 1 system against gold" in parsed.text("lead")


def test_csp_allows_only_own_assets(tmp_path):
    parsed = render_result(tmp_path, evaluation_result(), examples(2))
    policy = next(a["content"] for a in parsed.attributes_of("meta") if "http-equiv" in a)
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parsed.text(kind).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "style" not in {name for _, name in parsed.shape()}
    assert "unsafe" not in policy
    html = (tmp_path / "evaluation.html").read_text("utf-8")
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", html) == []
    assert re.findall(r"https?://|@import|url\(|fetch\(|XMLHttp", html) == []


def test_reloaded_result_gives_the_same_page(tmp_path):
    first = evaluation_result()
    (tmp_path / "results.json").write_text(first.model_dump_json(indent=1), "utf-8")
    reloaded = EvaluationResult.model_validate_json((tmp_path / "results.json").read_text("utf-8"))
    render_result(tmp_path, first, examples(5))
    html = (tmp_path / "evaluation.html").read_bytes()
    render_result(tmp_path, reloaded, examples(5))
    assert (tmp_path / "evaluation.html").read_bytes() == html


def test_metric_without_definition_is_shown(tmp_path):
    single_system = system_result("a", 0).model_copy(
        update={"metrics": {"mine": {"odd": MetricValue(value=0.5, n=3)}}}
    )
    parsed = render_result(tmp_path, evaluation_result(systems=(single_system,), comparisons=()))
    assert "0.500" in parsed.text("val")
    assert "not defined in this result" in parsed.text("defs")
