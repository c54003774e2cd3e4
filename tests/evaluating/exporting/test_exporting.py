"""Sample logs say of each row what the results say, and tell unread answers from wrong ones."""

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluating.exporting import export
from tests.evaluating import making

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return making.write(tmp_path)


@pytest.fixture
def inspect(results: Path, tmp_path: Path) -> dict:
    [path] = export(results, "inspect", tmp_path / "logs", when=WHEN)
    return json.loads(path.read_text("utf-8"))


def test_inspect_tells_unread_from_wrong(inspect: dict) -> None:
    verdicts = Counter(s["scores"]["polarity"]["value"] for s in inspect["samples"])
    assert verdicts == {"C": 4, "I": 1, "N": 2}
    unread = [
        s["scores"]["polarity"] for s in inspect["samples"] if s["metadata"]["status"] != "ok"
    ]
    assert [u["reason"] for u in unread] == ["invalid_response_format", "no_response"]
    assert all(u["answer"] is None for u in unread)
    right = sum(s["scores"]["polarity"]["value"] == "C" for s in inspect["samples"])
    figure = inspect["results"]["scores"][0]["metrics"]["labels.accuracy"]
    assert figure["value"] == right / len(inspect["samples"])
    assert figure["metadata"]["low"] <= figure["value"] <= figure["metadata"]["high"]


def test_inspect_keeps_words_hashes_and_ids(inspect: dict) -> None:
    assert inspect["version"] == 2
    assert inspect["eval"]["metadata"]["data_sha256"] == making.result().data_sha256
    assert inspect["eval"]["metadata"]["left_out"] == 1
    ids = [s["id"] for s in inspect["samples"]]
    assert len(set(ids)) == len(ids) == inspect["results"]["total_samples"] == 7
    first = inspect["samples"][0]
    assert first["output"]["completion"] == "Sentiment: positive"
    assert "<b>like that</b>" in first["input"]
    assert first["metadata"]["how"] == {"prompt": "reader/full@12345678"}


def test_lm_eval_samples_have_the_fields_of_that_tool(results: Path, tmp_path: Path) -> None:
    summary, samples = export(results, "lm-eval", tmp_path / "logs", when=WHEN)
    assert samples.name == "samples_gen_msa-soups-dev_2026-01-02T03-04-05.jsonl"
    assert summary.name == "results_2026-01-02T03-04-05.json"
    rows = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    wanted = "doc_id doc target arguments resps filtered_resps filter metrics doc_hash prompt_hash"
    assert {*wanted.split(), "target_hash", "accuracy", "read_rate"} == set(rows[0])
    assert rows[0]["target_hash"] == hashlib.sha256(b"positive").hexdigest()
    assert rows[2]["resps"] == [["Sentiment: it depends"]]
    assert rows[2]["filtered_resps"] == ["[invalid]"]
    said = json.loads(summary.read_text("utf-8"))
    [figures] = said["results"].values()
    for name in ("accuracy", "read_rate"):
        mean = sum(r[name] for r in rows) / len(rows)
        assert figures[f"labels.{name},none"] == pytest.approx(mean)
    assert said["n-samples"] == {"gen_msa-soups-dev": {"original": 7, "effective": 7}}
    hashes = "".join(r["doc_hash"] + r["prompt_hash"] + r["target_hash"] for r in rows)
    assert said["task_hashes"]["gen_msa-soups-dev"] == hashlib.sha256(hashes.encode()).hexdigest()


def test_the_same_results_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    for to in ("inspect", "lm-eval"):
        one = export(results, to, tmp_path / "one", when=WHEN)
        two = export(results, to, tmp_path / "two", when=WHEN)
        assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
        assert [p.name for p in one] == [p.name for p in two]


def test_samples_of_another_run_are_refused(results: Path, tmp_path: Path) -> None:
    samples = results.with_name("samples.jsonl")
    lines = samples.read_text("utf-8").replace("Sentiment: positive", "x")
    samples.write_text(lines.replace('"polarity":"negative"', '"polarity":"neutral"', 1))
    with pytest.raises(UserError, match="of one run"):
        export(results, "inspect", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("to", "readers", "said"),
    [
        ("inspct", (), "did you mean 'inspect'"),
        ("inspect", ("modl",), "did you mean 'model'"),
    ],
)
def test_unknown_names_are_met_with_the_nearest(results, tmp_path, to, readers, said) -> None:
    with pytest.raises(UserError, match=said):
        export(results, to, tmp_path, readers=readers)


def test_files_that_hold_something_else_are_named(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(UserError, match="holds no results"):
        export(other, "inspect", tmp_path)
    with pytest.raises(UserError, match="is not there"):
        export(results, "inspect", tmp_path, samples=tmp_path / "no.jsonl")


def test_inspect_reads_the_log(results: Path, tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed")
    [path] = export(results, "inspect", tmp_path / "logs", when=WHEN)
    read = log.read_eval_log(str(path))
    assert [s.scores["polarity"].value for s in read.samples].count("N") == 2
