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


def test_bad_lines_are_named_and_the_rest_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl", row(1), b"{", b"", b'{"post": {"text": "x"}}', row(5))
    got = list(jsonl.read(path, Example))
    assert [r.line for r in got if isinstance(r, Rejected)] == [2, 4]
    assert [r.post.id for r in got if isinstance(r, Example)] == ["1", "5"]
    assert "post.id: Field required" in got[2].reason


def test_a_line_over_the_limit_is_refused_and_costs_no_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as f:
        f.write(row(1) + b"\n")
        for _ in range(3):
            for _ in range(64):
                f.write(b"[" * (1 << 20))
            f.write(b"\n")
        f.write(row(2) + b"\n")
    tracemalloc.start()
    got = list(jsonl.read(path, Example))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(r) for r in got] == [Example, Rejected, Rejected, Rejected, Example]
    assert got[1].reason.startswith(f"line of {(64 << 20) + 1} bytes is over the limit")
    assert peak < 8 << 20


def test_a_deeply_nested_line_is_one_rejected_row(tmp_path):
    deep = b'{"post":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    got = list(jsonl.read(write(tmp_path / "a.jsonl", deep, row(2)), Example))
    assert [type(r) for r in got] == [Rejected, Example]


@given(st.lists(st.binary(max_size=60).filter(lambda b: b.strip() and b"\n" not in b), max_size=20))
def test_any_bytes_give_one_result_a_line(tmp_path_factory, lines):
    path = write(tmp_path_factory.mktemp("x") / "a.jsonl", *lines)
    assert len(list(jsonl.read(path, Example))) == len(lines)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "out.jsonl"
    with jsonl.whole(path) as f:
        f.write(b"first")
        assert not path.exists()

    def half() -> None:
        with jsonl.whole(path) as f:
            f.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half()
    assert path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["out.jsonl"]


def test_line_ends_of_another_system_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(row(1) + b"\r\n" + row(2))
    assert [json.loads(line)["post"]["id"] for _, line in jsonl.lines(path)] == ["1", "2"]


def test_what_a_killed_process_left_is_removed_and_a_living_ones_is_not(tmp_path):
    dead, alive = tmp_path / ".out.jsonl.999999999.part", tmp_path / ".out.jsonl.1.part"
    dead.write_text("half")
    alive.write_text("half")
    with jsonl.whole(tmp_path / "out.jsonl") as f:
        f.write(b"x")
    assert not dead.exists()
    assert alive.exists()
