"""`gen-msa export-log`: the files of each format, and the reader that is asked for."""

import json

import pytest

from tests.evaluating import making


@pytest.mark.parametrize(("to", "files"), [("inspect", 1), ("lm-eval", 2)])
def test_logs_are_written_where_asked(gen_msa, tmp_path, to, files):
    out = tmp_path / "logs"
    ran = gen_msa("export-log", making.write(tmp_path), "--to", to, "-o", out, "-r", "model")
    assert ran.code == 0
    written = [p for p in out.rglob("*") if p.is_file()]
    assert len(written) == files
    assert all(str(p) in ran.err for p in written)
    assert all(
        json.loads(p.read_text("utf-8").splitlines()[0] or "{}") for p in out.rglob("*.jsonl")
    )


def test_an_unknown_format_is_named(gen_msa, tmp_path):
    ran = gen_msa("export-log", making.write(tmp_path), "--to", "html", "-o", tmp_path / "logs")
    assert ran.code == 2
    assert "no log format named 'html'" in ran.err
