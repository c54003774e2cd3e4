"""`gen-msa export-log`: the files of each format, and the selected model."""

import json

import pytest

from tests.evaluation import builders


@pytest.mark.parametrize(("log_format", "files"), [("inspect", 1), ("lm-eval", 2)])
def test_logs_are_written_in_each_format(gen_msa, tmp_path, log_format, files):
    out = tmp_path / "logs"
    completed = gen_msa(
        "export-log",
        builders.write_evaluation_files(tmp_path),
        "--to",
        log_format,
        "-o",
        out,
        "-m",
        "model",
    )
    assert completed.code == 0
    log_files = [p for p in out.rglob("*") if p.is_file()]
    assert len(log_files) == files
    assert all(str(p) in completed.err for p in log_files)
    assert all(
        json.loads(p.read_text("utf-8").splitlines()[0] or "{}") for p in out.rglob("*.jsonl")
    )


def test_unknown_log_format_is_rejected(gen_msa, tmp_path):
    completed = gen_msa(
        "export-log",
        builders.write_evaluation_files(tmp_path),
        "--to",
        "html",
        "-o",
        tmp_path / "logs",
    )
    assert completed.code == 2
    assert "no log format named 'html'" in completed.err
