"""The commands of docs/files.md run on its own example, and end as the page says."""

import gzip
import io
import re
import shlex
from pathlib import Path

import pytest

import gen_msa
from gen_msa.cli import main
from gen_msa.data import open_examples
from gen_msa.types import Example

PAGE = (Path(gen_msa.__file__).parent.parent / "docs" / "files.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", PAGE, re.MULTILINE)
EXAMPLE = re.search(r"```csv\n(.+?)```", PAGE, re.DOTALL)


def exit_code(command: str, monkeypatch: pytest.MonkeyPatch) -> object:
    arguments, _, posts = command.partition(" < ")
    if posts:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(posts).read_bytes())))
    monkeypatch.setattr("sys.argv", ["gen-msa", *shlex.split(arguments)])
    try:
        main()
    except SystemExit as e:
        return e.code
    return 0


def test_commands_end_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert EXAMPLE is not None
    (tmp_path / "reviews.csv").write_text(EXAMPLE[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posts.csv.gz").write_bytes(gzip.compress(b"id,text\n1,Good tea\n"))
    (tmp_path / "chinese.txt").write_bytes("id#text\n1#\u5f88\u597d\n".encode("gb18030"))
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.title = "answers"
    book.active.append(["How was it?"])
    book.active.append(["Good tea"])
    book.save(tmp_path / "survey.xlsx")
    assert [exit_code(command, monkeypatch) for command in COMMANDS] == [0, 2, 0, 0, 0, 0]
    assert "note: reviews.csv is read with semicolons" in capfd.readouterr().err
    (row,) = open_examples("reviews.jsonl").rows()
    assert isinstance(row, Example)
    labels = {o.aspect.term: o.polarity for o in row.opinions}
    assert labels == {"terrace": "positive", "soup": "negative"}
