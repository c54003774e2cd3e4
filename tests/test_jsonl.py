import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa import jsonl
from gen_msa.types import Example, Post, Rejected


def write(path, *lines):
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def row(i, text="x"):
    return Example(post=Post(id=str(i), text=text)).model_dump_json().encode()


def test_bad_lines_are_rejected_and_the_rest_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl", row(1), b"{", b"", b'{"post": {"text": "x"}}', row(5))
    rows = list(jsonl.read(path, Example))
    assert [r.line for r in rows if isinstance(r, Rejected)] == [2, 4]
    assert [r.post.id for r in rows if isinstance(r, Example)] == ["1", "5"]
    assert "post.id: Field required" in rows[2].reason


def test_line_over_the_limit_is_rejected_without_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as f:
        f.write(row(1) + b"\n")
        for _ in range(3):
            for _ in range(64):
                f.write(b"[" * (1 << 20))
            f.write(b"\n")
        f.write(row(2) + b"\n")
    tracemalloc.start()
    rows = list(jsonl.read(path, Example))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(r) for r in rows] == [Example, Rejected, Rejected, Rejected, Example]
    assert rows[1].reason.startswith(f"line of {(64 << 20) + 1} bytes is over the limit")
    assert peak < 8 << 20


def test_deeply_nested_line_is_one_rejected_row(tmp_path):
    deep = b'{"post":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    rows = list(jsonl.read(write(tmp_path / "a.jsonl", deep, row(2)), Example))
    assert [type(r) for r in rows] == [Rejected, Example]


@given(st.lists(st.binary(max_size=60).filter(lambda b: b.strip() and b"\n" not in b), max_size=20))
def test_any_bytes_give_one_result_per_line(tmp_path_factory, lines):
    path = write(tmp_path_factory.mktemp("x") / "a.jsonl", *lines)
    assert len(list(jsonl.read(path, Example))) == len(lines)


def test_atomic_write_gives_the_complete_file_or_none(tmp_path):
    path = tmp_path / "deep" / "out.jsonl"
    with jsonl.atomic_write(path) as f:
        f.write(b"first")
        assert not path.exists()

    def fail_midway() -> None:
        with jsonl.atomic_write(path) as f:
            f.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_midway()
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["out.jsonl"]


def test_windows_line_endings_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(row(1) + b"\r\n" + row(2))
    assert [json.loads(line)["post"]["id"] for _, line in jsonl.read_lines(path)] == ["1", "2"]


def test_part_files_of_dead_processes_are_removed(tmp_path):
    dead, alive = tmp_path / ".out.jsonl.999999999.part", tmp_path / ".out.jsonl.1.part"
    dead.write_text("half")
    alive.write_text("half")
    with jsonl.atomic_write(tmp_path / "out.jsonl") as f:
        f.write(b"x")
    assert not dead.exists()
    assert alive.exists()
