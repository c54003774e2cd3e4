"""`gen-msa evaluate … cost.posts=N`: measured cost beside the metrics of the same model."""

import csv

import pytest
import yaml

from gen_msa.answer_cache import hash_key
from gen_msa.cli._evaluation import ModelRunner
from gen_msa.data import open_examples
from gen_msa.evaluation.suite import ModelEntry, Suite
from gen_msa.predictors import make
from gen_msa.report.evaluation.format import format_amount
from gen_msa.results import EvaluationResult
from tests.evaluation.phone_examples import example, write_examples
from tests.report.builders import ParsedPage

LABELS = ["positive", "neutral", "negative"]


@pytest.fixture
def posts(tmp_path):
    return write_examples(tmp_path / "posts.jsonl", [example(i, LABELS[i % 3]) for i in range(9)])


@pytest.fixture
def student(tmp_path):
    """Return a folder with a tiny untrained student."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from gen_msa import manifest
    from gen_msa.models.inference import serialization
    from tests.fixtures import tiny_students

    with manifest.atomic_directory(tmp_path / "s") as draft:
        model, collator = tiny_students.make_student(), tiny_students.make_collator()
        serialization.save_student(draft, model, collator, text="post", name="text")
    return tmp_path / "s"


def load_result(folder):
    return EvaluationResult.model_validate_json((folder / "results.json").read_text("utf-8"))


def test_costs_are_reported_beside_metrics_of_the_same_model(gen_msa, posts, tmp_path):
    out = tmp_path / "out"
    completed = gen_msa(
        "evaluate", posts, "-m", "echo", "-m", f"majority:{posts}", "-o", out,
        "replicates=100", "cost.posts=4",
    )  # fmt: skip
    assert completed.code == 0, completed.err
    echo, majority = load_result(out).systems
    assert echo.cost_benchmark.fingerprint_sha256 == hash_key(echo.fingerprint)
    assert (echo.cost_benchmark.posts, echo.cost_benchmark.repeats) == (4, 5)
    assert majority.cost_benchmark.note == "recorded answers: no cost of their own"
    rate = echo.cost_benchmark.metrics["posts_per_second"]
    assert 0 < rate.low <= rate.value <= rate.high
    page = ParsedPage((out / "report.html").read_text("utf-8"))
    assert len(page.attributes_of("spot")) == 1
    for name, value in echo.cost_benchmark.metrics.items():
        if value.value is not None:
            assert format_amount(value.value) in page.text("costs"), name
    assert "recorded answers: no cost of their own" in completed.out.replace("\n", " ")
    assert "frontier" in (out / "metrics.md").read_text("utf-8")
    with (out / "metrics.csv").open(encoding="utf-8-sig", newline="") as f:
        (row,) = (r for r in csv.DictReader(f) if r["metric"] == "posts_per_second")
    assert float(row["value"]) == rate.value


def test_cost_is_opt_in_and_needs_models(gen_msa, posts, tmp_path):
    assert (
        gen_msa("evaluate", posts, "-m", "echo", "-o", tmp_path / "o", "replicates=100").code == 0
    )
    assert load_result(tmp_path / "o").systems[0].cost_benchmark is None
    opinions_path = write_examples(
        tmp_path / "opinions.jsonl", [example(0, "neutral", a="neutral")]
    )
    completed = gen_msa("evaluate", opinions_path, "cost.posts=1", "-o", tmp_path / "p")
    assert completed.code == 2
    assert "cost.posts runs models again" in completed.err


def test_student_with_and_without_explanations_in_one_table(gen_msa, posts, student, tmp_path):
    models = [
        {"name": "student", "model": f"student:{student}"},
        {"name": "labels", "model": f"student:{student}", "settings": {"explanations": False}},
    ]
    suite = tmp_path / "mine.yaml"
    tree = {"data": str(posts), "models": models, "replicates": 100, "cost": {"posts": 9}}
    suite.write_text(yaml.safe_dump(tree))
    completed = gen_msa("evaluate", suite, "-o", tmp_path / "out")
    assert completed.code == 0, completed.err
    full, labels = load_result(tmp_path / "out").systems
    assert full.metrics["labels"] == labels.metrics["labels"]
    assert full.cost_benchmark.fingerprint_sha256 != labels.cost_benchmark.fingerprint_sha256
    cpu = [r.cost_benchmark.metrics["cpu_seconds"].low for r in (full, labels)]
    assert cpu[0] > 1.5 * cpu[1], "explanations need many more forward passes"
    sizes = [r.cost_benchmark.metrics["megabytes"].value for r in (full, labels)]
    assert sizes[0] == sizes[1] > 0.01


def test_probes_run_students_without_explanations(posts, student, tmp_path):
    entry = ModelEntry(model=f"student:{student}")
    suite = Suite(data=str(posts), models=(entry,))
    runner = ModelRunner(suite, open_examples(str(posts)), tmp_path, console=None)
    changed_posts = [example(i, "neutral").post for i in range(3)]
    settings = runner.probe_settings(entry)
    (unexplained,) = make(settings, tmp_path).predict(changed_posts[:1])[0].opinions
    (explained,) = (
        make(runner._job_settings(entry, entry.model).predictor_settings(), tmp_path)
        .predict(changed_posts[:1])[0]
        .opinions
    )
    assert explained.explanation
    assert (unexplained.explanation, unexplained.evidence) == (None, ())
    assert (unexplained.polarity, unexplained.probs) == (explained.polarity, explained.probs)
