"""What stands on the page of an evaluation: every figure, test, plot, note and picked row."""

import base64
import hashlib
import re

from gen_msa.results import Comparison, Result, Shown, Value
from tests.report.evaluation.making import (
    NAMES,
    THINGS,
    comparison,
    examples,
    reader,
    result,
    shown,
    value,
)


def test_the_head_says_what_was_measured_and_how(tmp_path):
    seen = shown(tmp_path, result())
    assert "small_talk:dev: 900 rows in 450 posts, 3 readers against gold" in seen.text("lead")
    assert "2 rows of the source could not be read" in seen.text("lead")
    for fact in ("411 by picture", "10,000", "9f2c" * 16, "0.4.0", "reader/full@12ab34cd"):
        assert fact in seen.text("facts")


def test_every_reader_has_its_figures_with_intervals_and_a_bar(tmp_path):
    seen = shown(tmp_path, result())
    figures = seen.text("figures")
    for said in ("78.1", "75.6 to 80.3", "74.2", "58.8", "7 (0.8 %)", "±1.0 over 3 seeds"):
        assert said in seen.text("grid")
    assert figures == ""
    assert len(seen.of("ib")) > 20


def test_a_paper_is_marked_as_printed_and_cited_with_its_protocol(tmp_path):
    seen = shown(tmp_path, result())
    assert "79.4" in seen.text("printed")
    assert "printed" in seen.text("tag")
    assert "Writer et al., Journal of Small Talk 12, table 3." in seen.text("cite")
    assert "mean of 5 seeds, best epoch on dev" in seen.text("cite")
    assert len(seen.of("hollow")) == 4  # two figures, each in the headline and in its family


def test_bold_needs_every_paired_test(tmp_path):
    best = shown(tmp_path, result()).text("best")
    assert best.startswith("78.1★")  # told apart from both by accuracy
    assert "74.1" not in best  # not told apart from the second by macro-F1
    assert shown(tmp_path, result(comparisons=())).of("best") == []


def test_an_undefined_figure_is_a_dash_with_its_reason(tmp_path):
    seen = shown(tmp_path, result())
    assert "–this reader gives no explanations" in seen.text("fig")
    one = reader("a", 0).model_copy(
        update={"figures": {"labels": {"accuracy": value(float("nan"))}}}
    )
    text = shown(tmp_path, result(readers=(one,), comparisons=(), published=())).text("fig")
    assert "–undefined, and no reason was given" in text
    assert "nan" not in text


def test_every_note_is_printed(tmp_path):
    seen = shown(tmp_path, result())
    assert "Explanations were scored without references" in seen.text("notes")
    assert seen.text("notes").count("bleu: gold gives no reasons to compare with") == 3


def test_every_family_unfolds_to_its_definitions(tmp_path):
    seen = shown(tmp_path, result())
    assert "2TP / (2TP + FP + FN) of negative." in seen.text("defs")
    assert "13a, v2.5" in seen.text("defs")
    for family in ("labels", "calibration", "wording", "quoting", "bleu"):
        assert family in seen.text("summary")


def test_comparisons_say_difference_test_and_both_p(tmp_path):
    said = shown(tmp_path, result()).text("tr")
    assert "+3.9 points+0.9 to +6.9McNemar, exact0.0040.012Holm over 6builtin is better" in said
    assert "permutation, 10000, seed 00.200.60Holm over 6not told apart" in said


def test_where_low_is_good_the_lower_reader_is_better(tmp_path):
    c = comparison(NAMES[0], NAMES[1], -0.03, 0.001)
    ece = Comparison(**{**c.model_dump(), "family": "calibration", "figure": "ece"})
    assert "builtin is better" in shown(tmp_path, result(comparisons=(ece,))).text("tr")


def test_confusion_curves_classes_and_slices_are_drawn_for_every_reader(tmp_path):
    seen = shown(tmp_path, result())
    assert len(seen.of("heat")) == 3
    assert "234 78 %" in seen.text("heat")
    assert len(seen.of("rel")) == 3
    assert len([a for a in seen.of("plot") if "rel" not in a["class"]]) == 1 + 5
    assert {a["aria-label"] for a in seen.of("plot")} >= {"accuracy by negation", "f1 by class"}
    assert "90 answers, 96.7 % sure" in seen.text("title")
    assert "n 450" in seen.text("nt")


def test_probes_and_costs_have_their_tables(tmp_path):
    seen = shown(tmp_path, result())
    assert "aspect swap" in seen.text("sub")
    assert "no other aspect in any post" in seen.text("why")
    assert "answers were on record" in seen.text("under")
    assert "10.8" in seen.text("num")  # 450 posts in 41.5 seconds


def test_unread_answers_are_whole(tmp_path):
    seen = shown(tmp_path, result())
    assert seen.text("pre").count("pos/neg " * 400) == 2
    assert "7: 3 unparsed, 2 empty, 2 length" in seen.text("summary")
    assert "(nothing was said)" in seen.text("silent")


def test_picked_rows_show_their_aspect_alone_with_picture_and_evidence(tmp_path):
    seen = shown(tmp_path, result(disagreements=()), examples(9))
    picked = [a for a in seen.of("article") if a["id"].startswith("p-")]
    assert [a["aria-label"] for a in picked] == ["post post-2", "post post-1"]
    assert "names its aspect and quotes the post" in seen.text("reasoned")
    text = seen.text("pick")
    assert sum(thing in text for thing in THINGS) <= 4  # each text has two, each row one
    assert len(seen.of("article")) == 2 + 9


def test_a_picked_row_beyond_the_limit_is_drawn_and_a_missing_one_is_named(tmp_path):
    res = result(disagreements=(Shown(post="nowhere", aspect="tea"),))
    seen = shown(tmp_path, res, examples(9), limit=1)
    assert "The examples hold no row of post nowhere about tea" in seen.text("notice")
    assert "Showing the first 1 of 9 posts" in seen.text("notice")
    assert [a["id"] for a in seen.of("article")] == ["p-2", "p-1", "p1"]


def test_only_so_many_rows_are_drawn_and_the_page_says_so(tmp_path):
    many = tuple(Shown(post=f"post-{i}", aspect="x") for i in range(250))
    assert "50 more rows stand in results.json" in shown(tmp_path, result(worst=many)).text(
        "counts"
    )


def test_a_picture_is_stored_once_however_often_it_is_shown(tmp_path):
    images = shown(tmp_path, result(), examples(30)).of("img")
    assert sum("data-src" in a for a in images) == 1  # the stand-in draws the same for every path
    assert len({a["id"] for a in images if "id" in a}) == 1
    assert sum("data-like" in a for a in images) == len(images) - 1 > 20


def test_cards_past_the_first_hundred_wait_in_templates_and_none_is_lost(tmp_path):
    for posts, templates in ((100, 0), (101, 1), (150, 1), (151, 2), (230, 3)):
        seen = shown(tmp_path, result(), examples(posts))
        assert len(seen.of("template")) == templates
        ids = [a["id"] for a in seen.of("article")]
        assert [i for i in ids if i[1] != "-"] == [f"p{n}" for n in range(1, posts + 1)]


def test_ids_are_unique(tmp_path):
    seen = shown(tmp_path, result(), examples(20))
    ids = [a["id"] for _, a in seen.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in seen.of("a")]
    assert set(targets) <= set(ids)


def test_another_reader_can_stand_in_golds_place(tmp_path):
    seen = shown(tmp_path, result(against="builtin"), examples(3))
    assert "agrees with builtin" in seen.text("verdict")
    assert seen.text("goldchip").startswith("builtin ")
    assert {a["data-by"] for a in seen.of("li") if "data-by" in a} == {"gold", *NAMES[1:]}


def test_nothing_at_all_is_a_page_that_says_so(tmp_path):
    empty = result(
        readers=(), comparisons=(), published=(), probes={}, definitions=(), notes=(), best=(),
        worst=(), disagreements=(), rows=0, posts=0, clusters=0,
    )  # fmt: skip
    seen = shown(tmp_path, empty)
    assert "No reader was evaluated." in seen.text("notice")
    assert "No figure could be had" in seen.text("notice")
    assert "No posts were given." in seen.text("part") + seen.text("p")


def test_one_row_and_one_reader_have_a_page(tmp_path):
    one = result(rows=1, posts=1, readers=(reader("a", 0, rows=1),), comparisons=(), probes={})
    seen = shown(tmp_path, one, examples(1))
    assert "1 row in 1 post, 1 reader against gold" in seen.text("lead")


def test_the_policy_allows_this_style_and_this_script_only(tmp_path):
    seen = shown(tmp_path, result(), examples(2))
    policy = next(a["content"] for a in seen.of("meta") if "http-equiv" in a)
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(seen.text(kind).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "style" not in {name for _, name in seen.shape()}
    assert "unsafe" not in policy
    code = (tmp_path / "evaluation.html").read_text("utf-8")
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", code) == []
    assert re.findall(r"https?://|@import|url\(|fetch\(|XMLHttp", code) == []


def test_a_result_read_back_from_json_gives_the_same_bytes(tmp_path):
    first = result()
    (tmp_path / "results.json").write_text(first.model_dump_json(indent=1), "utf-8")
    again = Result.model_validate_json((tmp_path / "results.json").read_text("utf-8"))
    shown(tmp_path, first, examples(5))
    page = (tmp_path / "evaluation.html").read_bytes()
    shown(tmp_path, again, examples(5))
    assert (tmp_path / "evaluation.html").read_bytes() == page


def test_a_figure_nobody_defined_is_still_printed(tmp_path):
    one = reader("a", 0).model_copy(update={"figures": {"mine": {"odd": Value(value=0.5, n=3)}}})
    seen = shown(tmp_path, result(readers=(one,), comparisons=()))
    assert "0.500" in seen.text("val")
    assert "not defined in this result" in seen.text("defs")
