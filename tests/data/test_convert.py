"""Conversion writes what is good, sets the rest aside beside the target, and counts both."""

from pathlib import Path

import pytest

from gen_msa import jsonl
from gen_msa.data import open_source
from gen_msa.data._convert import convert
from gen_msa.data.formats import formats
from gen_msa.errors import UserError
from gen_msa.types import Example, Rejected
from tests.data.making import plain


def posts(path: Path, *lines: str) -> Path:
    formats["jsonl"].write(path, [plain("a"), plain("b", "good tea , bad cake .")])
    with path.open("a") as f:
        f.writelines(f"{line}\n" for line in lines)
    return path


def test_good_rows_are_written_and_bad_ones_set_aside(tmp_path: Path) -> None:
    source = posts(tmp_path / "in.jsonl", "junk", '{"text": 1}')
    target = tmp_path / "out.csv"
    counts = convert(open_source(str(source)), target)
    aside = tmp_path / "out.csv.rejected.jsonl"
    assert (counts.written, counts.rejected, counts.rejected_file) == (2, 2, aside)
    assert [r.line for r in jsonl.read(aside, Rejected)] == [3, 4]
    assert [e.post.id for e in formats["csv"].read(target) if isinstance(e, Example)] == ["a", "b"]


def test_a_clean_run_leaves_no_rejected_file_of_an_earlier_one(tmp_path: Path) -> None:
    source = posts(tmp_path / "in.jsonl")
    aside = tmp_path / "out.json.rejected.jsonl"
    aside.write_text("old")
    counts = convert(open_source(str(source)), tmp_path / "out.json", "tombert_tsv")
    assert (counts.written, counts.rejected, counts.rejected_file) == (2, 0, None)
    assert not aside.exists()


def test_an_example_without_room_leaves_no_file_at_all(tmp_path: Path) -> None:
    source = posts(tmp_path / "in.jsonl", "junk", '{"text": "no label"}')
    with pytest.raises(UserError, match=r"joint_json has no room for post\.media"):
        convert(open_source(str(source)), tmp_path / "out.json", "joint_json")
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_may_be_converted_onto_itself(tmp_path: Path) -> None:
    path = posts(tmp_path / "in.jsonl", '{"text": "tea"}')
    assert convert(open_source(str(path)), path).written == 3
    assert [e.post.id for e in formats["jsonl"].read(path) if isinstance(e, Example)] == [
        "a",
        "b",
        "in-3",
    ]
