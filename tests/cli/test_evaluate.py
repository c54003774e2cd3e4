"""`gen-msa evaluate` on the command line: a suite, a file of opinions, an interrupted run."""

import json

import pytest
import yaml

from gen_msa.results import EvaluationResult
from gen_msa.types import Example
from tests.evaluation.phone_examples import example, write_examples

LABELS = ["positive", "neutral", "negative"]


@pytest.fixture
def opinions(tmp_path):
    """Return a file of twelve posts with opinions by gold and two other annotators."""
    rows = [example(i, LABELS[i % 3], a=LABELS[i % 3], b=LABELS[i % 2]) for i in range(12)]
    return write_examples(tmp_path / "opinions.jsonl", rows)


def load_result(folder):
    return EvaluationResult.model_validate_json((folder / "results.json").read_text("utf-8"))


def test_opinions_file_is_compared_with_gold(gen_msa, opinions, tmp_path):
    out = tmp_path / "out"
    card = tmp_path / "CARD.md"
    completed = gen_msa(
        "evaluate", opinions, "--reference", "gold", "-o", out, "--card", card, "replicates=200"
    )
    assert completed.code == 0, completed.err
    evaluation = load_result(out)
    assert [r.name for r in evaluation.systems] == ["a", "b"]
    assert evaluation.systems[0].metrics["labels"]["accuracy"].value == 1.0
    assert evaluation.comparisons
    assert "a" in completed.out
    for name in ("report.html", "results.json", "samples.jsonl", "suite.yaml", "metrics.csv"):
        assert (out / name).stat().st_size > 100, name
    assert "100.0" in (out / "metrics.md").read_text("utf-8")
    assert "model-index" in card.read_text("utf-8")
    samples = (out / "samples.jsonl").read_text("utf-8").splitlines()
    assert len([Example.model_validate_json(line) for line in samples]) == 12
    assert yaml.safe_load((out / "suite.yaml").read_text("utf-8"))["replicates"] == 200


def test_suite_runs_models_and_caches_their_answers(gen_msa, opinions, tmp_path):
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        yaml.safe_dump(
            {
                "title": "Phones",
                "data": str(opinions),
                "models": [
                    {"model": "echo"},
                    {"name": "a again", "model": f"recorded:{opinions}#a"},
                    {
                        "name": "echo, plain",
                        "model": "echo",
                        "settings": {"prompt": "predict/plain"},
                    },
                ],
                "replicates": 200,
            }
        )
    )
    out = tmp_path / "out"
    completed = gen_msa("evaluate", suite, "-o", out)
    assert completed.code == 0, completed.err
    first = load_result(out)
    assert [r.name for r in first.systems] == ["echo", "a again", "echo, plain"]
    assert first.title == "Phones"
    assert first.systems[1].metrics["labels"]["accuracy"].value == 1.0
    assert len(first.systems[0].fingerprint["prompts"]["predict/full"]["prompt"]) == 64
    assert len(first.systems[2].fingerprint["prompts"]["predict/plain"]["prompt"]) == 64
    assert first.systems[0].cost.seconds > 0
    rerun = gen_msa("evaluate", suite, "-o", out)
    assert rerun.code == 0
    second = load_result(out)
    assert second.systems[0].cost.seconds is None, "answers on record cost nothing to measure"
    assert second.systems[0].metrics == first.systems[0].metrics


def test_seeds_of_a_model_are_averaged(gen_msa, opinions, tmp_path):
    out = tmp_path / "out"
    completed = gen_msa(
        "evaluate", opinions, "-m", f"recorded:{opinions}#a", "--seeds", f"recorded:{opinions}#b",
        "-o", out, "replicates=200",
    )  # fmt: skip
    assert completed.code == 0, completed.err
    names = [r.name for r in load_result(out).systems]
    assert names[-1].endswith("mean of 2 seeds")
    assert len(names) == 3


def test_seeds_without_a_model_are_rejected(gen_msa, opinions):
    completed = gen_msa("evaluate", opinions, "--seeds", "echo")
    assert completed.code == 2
    assert "--seeds needs exactly one --model" in completed.err


def test_probes_run_models_on_changed_posts(gen_msa, opinions, tmp_path):
    out = tmp_path / "out"
    completed = gen_msa(
        "evaluate", opinions, "-m", "echo", "-o", out, "replicates=200", "probes=[aspect_swap]"
    )
    assert completed.code == 0, completed.err
    assert "aspect_swap" in load_result(out).probes["echo"]
    rows = [json.loads(line) for line in (out / "probes.jsonl").read_text().splitlines()]
    assert all(r["probe"] == "aspect_swap" for r in rows)


def test_unknown_target_is_an_error(gen_msa):
    completed = gen_msa("evaluate", "nothing-of-the-kind")
    assert completed.code == 2
    assert "neither a file nor a dataset" in completed.err


def test_judge_rates_explanations_and_notes_no_calibration(gen_msa, opinions, tmp_path):
    explained_path = tmp_path / "echoed.jsonl"
    assert gen_msa("explain", opinions, "-m", "echo", "-o", explained_path).code == 0
    out = tmp_path / "out"
    judge = "judge={model: echo, same_model: allow}"
    completed = gen_msa("evaluate", explained_path, "-o", out, "replicates=200", judge)
    assert completed.code == 0, completed.err
    judge_metrics = load_result(out).probes["echo"]["judge"]
    assert judge_metrics["focus"].n > 0
    assert "uncalibrated" in judge_metrics["focus"].note
    assert (out / "judgements.jsonl").read_text("utf-8").count("\n") >= judge_metrics["focus"].n


def test_colliding_model_names_keep_separate_answers(gen_msa, opinions, tmp_path):
    names = ["x/y", "x y", "x_y", "[/b]", "n" * 300, "x_y.rejected"]
    models = [
        {"name": n, "model": f"recorded:{opinions}#{'ab'[i % 2]}"} for i, n in enumerate(names)
    ]
    suite = tmp_path / "mine.yaml"
    suite.write_text(yaml.safe_dump({"data": str(opinions), "models": models}))
    completed = gen_msa("evaluate", suite, "-o", tmp_path / "out", "replicates=100")
    assert completed.code == 0, completed.err
    assert "[/b]: predicting" in completed.err
    systems = load_result(tmp_path / "out").systems
    assert [r.metrics["labels"]["accuracy"].value == 1.0 for r in systems] == [True, False] * 3
    assert len(list((tmp_path / "out" / "systems").glob("*.jsonl"))) == len(names)


def test_file_name_is_not_parsed_as_yaml(gen_msa, opinions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opinions.rename(tmp_path / "a #1.jsonl")
    completed = gen_msa("evaluate", "a #1.jsonl", "-o", "out", "replicates=100")
    assert completed.code == 0, completed.err
    assert "no opinions by '7'" in gen_msa("evaluate", "a #1.jsonl", "--reference", "7").err


def test_invalid_run_stops_before_any_work(gen_msa, opinions, tmp_path):
    for override in ("published=[nope]", "headline=[labels.f2]", "reference=nobody"):
        completed = gen_msa("evaluate", opinions, "-m", "echo", "-o", tmp_path / "out", override)
        assert completed.code == 2, override
        assert "predicting" not in completed.err
    assert not (tmp_path / "out").exists()
    assert "cannot be a folder" in gen_msa("evaluate", opinions, "-o", opinions).err


def test_model_keeps_the_settings_of_its_suite_entry(gen_msa, opinions, tmp_path):
    suite = tmp_path / "mine.yaml"
    models = [
        {"model": "echo", "name": "full", "seeds": ["echo:1"]},
        {"model": "echo", "name": "plain", "settings": {"prompt": "predict/plain"}},
        {"model": "echo:2"},
    ]
    suite.write_text(yaml.safe_dump({"data": str(opinions), "models": models}))
    completed = gen_msa("evaluate", suite, "-m", "echo", "-o", tmp_path / "out", "replicates=100")
    assert completed.code == 0, completed.err
    names = [r.name for r in load_result(tmp_path / "out").systems]
    assert names == ["full", "full (2: echo:1)", "full, mean of 2 seeds", "plain"]


def test_answers_of_other_settings_are_not_reused(gen_msa, opinions, tmp_path):
    suite, out = tmp_path / "mine.yaml", tmp_path / "out"
    outputs = []
    for prompt in ("predict/full", "predict/plain", "predict/full"):
        entry = {"name": "echo", "model": "echo", "settings": {"prompt": prompt}}
        suite.write_text(yaml.safe_dump({"data": str(opinions), "models": [entry]}))
        assert gen_msa("evaluate", suite, "-o", out, "replicates=100").code == 0
        outputs.append((out / "systems" / "echo.jsonl").read_text("utf-8"))
    assert outputs[0] == outputs[2] != outputs[1]


def test_explanations_are_computed_only_where_a_metric_reads_them(gen_msa, opinions, tmp_path):
    def answers(folder):
        text = (folder / "systems" / "echo.jsonl").read_text("utf-8")
        examples = [Example.model_validate_json(line) for line in text.splitlines()]
        return [o for e in examples for o in e.opinions if o.annotator == "echo"]

    for out, metrics in ((tmp_path / "labels", "[labels]"), (tmp_path / "all", "[labels, chrf]")):
        completed = gen_msa(
            *("evaluate", opinions, "--model", "echo", "-o", out, f"metrics={metrics}"),
            *("headline=[labels.accuracy]", "replicates=200"),
        )
        assert completed.code == 0, completed.err
    labels, full = answers(tmp_path / "labels"), answers(tmp_path / "all")
    assert [o.polarity for o in labels] == [o.polarity for o in full]
    assert all(o.explanation for o in full)
    assert not any(o.explanation for o in labels)


def test_macro_f1_stands_in_every_table(gen_msa, opinions, tmp_path):
    out = tmp_path / "out"
    completed = gen_msa("evaluate", opinions, "-o", out, "replicates=200")
    latex = gen_msa("evaluate", opinions, "-o", out, "replicates=200", "--latex").out
    assert "macro f1" in completed.out
    assert "| macro f1 % |" in (out / "metrics.md").read_text("utf-8")
    assert latex == (out / "metrics.tex").read_text("utf-8")
    assert latex.startswith("\\begin{tabular}{lrr")
    assert r"labels.macro\_f1 (\%)" in latex
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in latex
