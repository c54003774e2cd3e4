"""Test that conversion writes good rows, stores rejected ones beside the target, counts both."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gen_msa import jsonl
from gen_msa.data import open_examples
from gen_msa.data.formats import formats
from gen_msa.data.sources import convert
from gen_msa.errors import UserError
from gen_msa.types import Example, Rejected
from tests.data.builders import plain_example


def write_posts(path: Path, *lines: str) -> Path:
    formats["jsonl"].write(path, [plain_example("a"), plain_example("b", "good tea , bad cake .")])
    with path.open("a") as f:
        f.writelines(f"{line}\n" for line in lines)
    return path


def test_convert_writes_good_rows_and_sets_bad_rows_aside(tmp_path: Path) -> None:
    source = write_posts(tmp_path / "in.jsonl", "junk", '{"text": 1}')
    target = tmp_path / "out.csv"
    counts = convert(open_examples(str(source)), target)
    rejected_file = tmp_path / "out.csv.rejected.jsonl"
    assert (counts.written, counts.rejected, counts.rejected_file) == (2, 2, rejected_file)
    assert [r.line for r in jsonl.read(rejected_file, Rejected)] == [3, 4]
    assert [e.post.id for e in formats["csv"].read(target) if isinstance(e, Example)] == ["a", "b"]


def test_convert_removes_stale_rejected_file(tmp_path: Path) -> None:
    source = write_posts(tmp_path / "in.jsonl")
    rejected_file = tmp_path / "out.json.rejected.jsonl"
    rejected_file.write_text("old")
    counts = convert(open_examples(str(source)), tmp_path / "out.json", "tombert_tsv")
    assert (counts.written, counts.rejected, counts.rejected_file) == (2, 0, None)
    assert not rejected_file.exists()


def test_failed_convert_leaves_no_file(tmp_path: Path) -> None:
    source = write_posts(tmp_path / "in.jsonl", "junk", '{"text": "no label"}')
    with pytest.raises(UserError, match=r"joint_json cannot store post\.media"):
        convert(open_examples(str(source)), tmp_path / "out.json", "joint_json")
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_file_may_be_converted_in_place(tmp_path: Path) -> None:
    path = write_posts(tmp_path / "in.jsonl", '{"text": "tea"}')
    assert convert(open_examples(str(path)), path).written == 3
    assert [e.post.id for e in formats["jsonl"].read(path) if isinstance(e, Example)] == [
        "a",
        "b",
        "in-3",
    ]


def append(path: Path) -> None:
    with path.open("a") as f:
        f.write('{"text": "one more"}\n{"te')


def cut(path: Path) -> None:
    with path.open("r+b") as f:
        f.truncate(path.stat().st_size // 2)


def rewrite(path: Path) -> None:
    path.write_text('{"text": "other"}\n')


def replace_by_another(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("change", [append, cut, rewrite, replace_by_another, Path.unlink])
@pytest.mark.parametrize("moment", ["during a pass", "between two passes"])
def test_file_that_changes_while_it_is_read_is_an_error(
    change: Callable[[Path], None], moment: str, tmp_path: Path
) -> None:
    path = write_posts(tmp_path / "in.jsonl", *['{"text": "good tea"}'] * 50_000)
    source = open_examples(str(path))
    rows = source.rows()
    next(rows)
    if moment == "between two passes":
        list(rows)
        rows = source.rows()
    change(path)
    with pytest.raises(UserError, match=r"was changed while it was read|cannot be read"):
        list(rows)


def test_file_that_does_not_change_is_read_in_every_pass(tmp_path: Path) -> None:
    source = open_examples(str(write_posts(tmp_path / "in.jsonl")))
    assert len(list(source.rows())) == len(list(source.rows())) == 2
