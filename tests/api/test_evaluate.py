"""`gm.evaluate` gives the metrics of `gen-msa evaluate`, as tables."""

import json

import pytest

import gen_msa as gm
from gen_msa.errors import UserError
from tests.fixtures.commands import run

OPTIONS = {"replicates": 200, "metrics": ["labels"], "slices": []}


@pytest.fixture(scope="module")
def opinions():
    return gm.explain(gm.read_posts("tiny"), model="echo")


def test_evaluation_equals_the_command_line(opinions, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    opinions.to_jsonl("opinions.jsonl")
    command = "evaluate opinions.jsonl -o out replicates=200 metrics=[labels] slices=[]"
    run(command, monkeypatch, capfd)
    expected = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))

    evaluation = gm.evaluate(opinions, **OPTIONS)

    actual = json.loads(evaluation.result.model_dump_json())
    assert actual["systems"][0]["metrics"] == expected["systems"][0]["metrics"]
    assert actual["rows"] == expected["rows"] > 40


def test_evaluation_becomes_tables_and_a_page(opinions, tmp_path):
    evaluation = gm.evaluate(opinions, **OPTIONS)
    frame = evaluation.to_pandas().set_index("metric")
    accuracy = frame.loc["labels.accuracy"]

    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    latex = evaluation.to_latex()
    assert f"{100 * accuracy['value']:.1f} ({100 * accuracy['low']:.1f}--" in latex
    assert r"labels.macro\_f1" in latex
    assert "echo" in evaluation.to_markdown()
    assert "echo" in evaluation.to_html(tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(UserError, match=r"no metric 'labels\.x'"):
        evaluation.to_latex(["labels.x"])


def test_evaluate_names_a_missing_annotator(opinions):
    with pytest.raises(UserError, match="nobody"):
        gm.evaluate(opinions, models=["nobody"], **OPTIONS)
    with pytest.raises(UserError, match="no opinions by 'teacher'"):
        gm.evaluate(opinions, reference="teacher", **OPTIONS)
