"""Sample logs agree with the results and separate unparsed answers from wrong ones."""

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation.log_export import export_logs
from tests.evaluation import builders

CREATED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def results_path(tmp_path: Path) -> Path:
    return builders.write_evaluation_files(tmp_path)


@pytest.fixture
def inspect_log(results_path: Path, tmp_path: Path) -> dict:
    [path] = export_logs(results_path, "inspect", tmp_path / "logs", created_at=CREATED_AT)
    return json.loads(path.read_text("utf-8"))


def test_inspect_log_separates_unparsed_from_wrong_answers(inspect_log: dict) -> None:
    answer_counts = Counter(s["scores"]["polarity"]["value"] for s in inspect_log["samples"])
    assert answer_counts == {"C": 4, "I": 1, "N": 2}
    no_answer = [
        s["scores"]["polarity"] for s in inspect_log["samples"] if s["metadata"]["status"] != "ok"
    ]
    assert [u["reason"] for u in no_answer] == ["invalid_response_format", "no_response"]
    assert all(u["answer"] is None for u in no_answer)
    n_correct = sum(s["scores"]["polarity"]["value"] == "C" for s in inspect_log["samples"])
    accuracy = inspect_log["results"]["scores"][0]["metrics"]["labels.accuracy"]
    assert accuracy["value"] == n_correct / len(inspect_log["samples"])
    assert accuracy["metadata"]["low"] <= accuracy["value"] <= accuracy["metadata"]["high"]


def test_inspect_log_keeps_raw_answers_hashes_and_ids(inspect_log: dict) -> None:
    assert inspect_log["version"] == 2
    assert (
        inspect_log["eval"]["metadata"]["data_sha256"] == builders.evaluation_result().data_sha256
    )
    assert inspect_log["eval"]["metadata"]["n_excluded"] == 1
    ids = [s["id"] for s in inspect_log["samples"]]
    assert len(set(ids)) == len(ids) == inspect_log["results"]["total_samples"] == 7
    first = inspect_log["samples"][0]
    assert first["output"]["completion"] == "Sentiment: positive"
    assert "<b>like that</b>" in first["input"]
    assert first["metadata"]["provenance"] == {"prompt": "predict/full@12345678"}


def test_lm_eval_samples_have_the_fields_of_lm_eval(results_path: Path, tmp_path: Path) -> None:
    summary, samples = export_logs(
        results_path, "lm-eval", tmp_path / "logs", created_at=CREATED_AT
    )
    assert samples.name == "samples_gen_msa-soups-dev_2026-01-02T03-04-05.jsonl"
    assert summary.name == "results_2026-01-02T03-04-05.json"
    rows = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    expected = (
        "doc_id doc target arguments resps filtered_resps filter metrics doc_hash prompt_hash"
    )
    assert {*expected.split(), "target_hash", "accuracy", "read_rate"} == set(rows[0])
    assert rows[0]["target_hash"] == hashlib.sha256(b"positive").hexdigest()
    assert rows[2]["resps"] == [["Sentiment: it depends"]]
    assert rows[2]["filtered_resps"] == ["[invalid]"]
    summary_json = json.loads(summary.read_text("utf-8"))
    [metrics] = summary_json["results"].values()
    for name in ("accuracy", "read_rate"):
        mean = sum(r[name] for r in rows) / len(rows)
        assert metrics[f"labels.{name},none"] == pytest.approx(mean)
    assert summary_json["n-samples"] == {"gen_msa-soups-dev": {"original": 7, "effective": 7}}
    hashes = "".join(r["doc_hash"] + r["prompt_hash"] + r["target_hash"] for r in rows)
    assert (
        summary_json["task_hashes"]["gen_msa-soups-dev"]
        == hashlib.sha256(hashes.encode()).hexdigest()
    )


def test_log_export_is_deterministic(results_path: Path, tmp_path: Path) -> None:
    for log_format in ("inspect", "lm-eval"):
        first = export_logs(results_path, log_format, tmp_path / "one", created_at=CREATED_AT)
        second = export_logs(results_path, log_format, tmp_path / "two", created_at=CREATED_AT)
        assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
        assert [p.name for p in first] == [p.name for p in second]


def test_log_export_rejects_samples_of_another_run(results_path: Path, tmp_path: Path) -> None:
    samples = results_path.with_name("samples.jsonl")
    lines = samples.read_text("utf-8").replace("Sentiment: positive", "x")
    samples.write_text(lines.replace('"polarity":"negative"', '"polarity":"neutral"', 1))
    with pytest.raises(UserError, match="of one run"):
        export_logs(results_path, "inspect", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("log_format", "systems", "message"),
    [
        ("inspct", (), "did you mean 'inspect'"),
        ("inspect", ("modl",), "did you mean 'model'"),
    ],
)
def test_log_export_suggests_the_nearest_name(
    results_path, tmp_path, log_format, systems, message
) -> None:
    with pytest.raises(UserError, match=message):
        export_logs(results_path, log_format, tmp_path, systems=systems)


def test_log_export_rejects_other_files(results_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(UserError, match="is not a results file"):
        export_logs(other, "inspect", tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        export_logs(results_path, "inspect", tmp_path, samples=tmp_path / "no.jsonl")


@pytest.mark.extras
def test_inspect_ai_can_read_the_log(results_path: Path, tmp_path: Path) -> None:
    log = pytest.importorskip(
        "inspect_ai.log", reason="inspect_ai is not installed: make test-extras"
    )
    [path] = export_logs(results_path, "inspect", tmp_path / "logs", created_at=CREATED_AT)
    eval_log = log.read_eval_log(str(path))
    assert [s.scores["polarity"].value for s in eval_log.samples].count("N") == 2
