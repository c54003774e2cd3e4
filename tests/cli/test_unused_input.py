"""What of an input was not used stands in the last line of every job, in its summary and report."""

import json
from pathlib import Path

import pytest
from PIL import Image

ROWS = """text,aspect,polarity,image,image_path,emotion
good tea,tea,positive,a.png,,joy
bad cup,cup,negative,b.png,,anger
"""
UNUSED = "not used: 2 columns, 1 image, 1 row"


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Two posts and a row without a text's cells; two columns are not read, an image is missing."""
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    path = tmp_path / "posts.csv"
    path.write_text(f"{ROWS}too,few,cells\n", encoding="utf-8")
    return path


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1]


def explain(gen_msa, posts: Path, *more: object):
    out = posts.with_name("o.jsonl")
    return gen_msa("explain", posts, "-m", "echo", "-o", out, "cues={}", "--no-cache", *more)


def test_explain_names_what_it_did_not_use_last_and_in_its_page(gen_msa, posts):
    page = posts.with_name("o.html")
    completed = explain(gen_msa, posts, "--html", page)
    assert (completed.code, last_line(completed.err)) == (3, UNUSED)
    assert "did you mean 'image'?" in completed.err
    html = page.read_text("utf-8")
    assert ">2 columns, 1 image, 1 row<" in html
    assert "column &#39;image_path&#39; is not read" in html


def test_without_an_output_file_the_last_line_is_the_same(gen_msa, posts):
    completed = gen_msa("explain", posts, "-m", "echo", "cues={}")
    assert (completed.code, last_line(completed.err)) == (3, UNUSED)


def test_an_input_that_was_used_whole_says_so(gen_msa, tmp_path):
    posts = tmp_path / "posts.csv"
    posts.write_text("text,aspect\ngood tea,tea\n", encoding="utf-8")
    completed = explain(gen_msa, posts, "--strict")
    assert (completed.code, last_line(completed.err)) == (0, "not used: nothing")


@pytest.mark.parametrize("verb", ["explain", "annotate", "convert", "evaluate"])
def test_strict_fails_on_a_column_that_is_not_read(gen_msa, tmp_path, verb):
    posts = tmp_path / "posts.csv"
    posts.write_text(ROWS.replace("b.png", "").replace("a.png", ""), encoding="utf-8")
    arguments = {
        "convert": ["convert", posts, tmp_path / "o.jsonl"],
        "evaluate": ["evaluate", posts, "-m", "echo", "-o", tmp_path / "ev"],
    }.get(verb, [verb, posts, "-m", "echo", "-o", tmp_path / "o.jsonl"])
    completed = gen_msa(*arguments, "--strict")
    assert completed.code == 2
    assert "not read" in completed.err
    assert "leave out --strict" in completed.err


def test_annotate_counts_in_its_summary(gen_msa, posts):
    out = posts.with_name("o.jsonl")
    completed = gen_msa("annotate", posts, "-m", "echo", "-o", out, "cues={}")
    assert (completed.code, last_line(completed.err)) == (3, UNUSED)
    summary = json.loads(out.with_suffix(".summary.json").read_text("utf-8"))
    assert summary["images"] == {"seen": 1, "missing": 1}
    assert summary["unused"] == {"column": 2, "image": 1, "row": 1}
    assert any("image_path" in note for note in summary["notes"])


def test_evaluate_counts_in_its_results_and_report(gen_msa, posts, tmp_path):
    arguments = ["evaluate", posts, "-m", "echo", "-o", tmp_path / "ev", "replicates=100"]
    completed = gen_msa(*arguments, "metrics=[labels]")
    assert (completed.code, last_line(completed.err)) == (3, UNUSED)
    result = json.loads((tmp_path / "ev/results.json").read_text("utf-8"))
    assert result["unused"] == {"column": 2, "image": 1, "row": 1}
    assert result["systems"][0]["images"] == {"seen": 1, "missing": 1}
    for name in ("report.html", "metrics.md"):
        text = (tmp_path / "ev" / name).read_text("utf-8")
        assert UNUSED in text, name
        assert "images: 1 of 2 seen, 1 missing" in text, name
    completed = gen_msa(*arguments, "metrics=[labels]", "--max-error-rate", "0.5")
    assert completed.code == 0, completed.err


def test_convert_and_merged_shards_count_the_same(gen_msa, posts, tmp_path):
    completed = gen_msa("convert", posts, tmp_path / "converted.jsonl")
    assert (completed.code, last_line(completed.err)) == (0, "not used: 2 columns, 1 row")
    for i in (1, 2):
        assert last_line(explain(gen_msa, posts, "--shard", f"{i}/2", "chunk=1").err).startswith(
            "not used: 2 columns"
        )
    parts = sorted(tmp_path.glob("*.part"))
    completed = gen_msa("merge", *parts, "-o", tmp_path / "merged.jsonl")
    assert (completed.code, last_line(completed.err)) == (3, UNUSED)
    assert "image_path" in completed.err


def test_xml_elements_that_are_not_read_are_no_rejected_rows(gen_msa, tmp_path):
    posts = tmp_path / "posts.xml"
    posts.write_text(
        '<sentences><sentence id="1"><text>good tea</text><emotions><e/></emotions></sentence>'
        "</sentences>",
        encoding="utf-8",
    )
    completed = explain(gen_msa, posts)
    assert (completed.code, last_line(completed.err)) == (0, "not used: 1 element")
