"""Test that JSON arrays are split into records without parsing, whatever their layout."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.data.formats import _json_stream
from gen_msa.data.formats._json_stream import first_record, iter_records
from gen_msa.jsonl import MAX_LINE_BYTES
from gen_msa.types import Rejected

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def read_records(path: Path) -> list[object]:
    results = list(iter_records(path))
    assert not [r for r in results if isinstance(r, Rejected)]
    return [json.loads(raw) for r in results if not isinstance(r, Rejected) for raw in [r[1]]]


@settings(max_examples=60, deadline=None)
@given(
    expected=st.lists(st.dictionaries(st.text(), JSON_VALUES, min_size=1), max_size=4),
    indent=st.sampled_from([None, 0, 1, 4]),
    ascii=st.booleans(),
    chunk=st.integers(1, 9),
)
def test_iter_records_matches_json_parser(
    expected: list[dict[str, object]],
    indent: int | None,
    ascii: bool,
    chunk: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "a.json"
    path.write_bytes(b"\n " + json.dumps(expected, indent=indent, ensure_ascii=ascii).encode())
    original_chunk_size, _json_stream._CHUNK = _json_stream._CHUNK, chunk + 2
    try:
        assert read_records(path) == expected
    finally:
        _json_stream._CHUNK = original_chunk_size


def record_numbers(path: Path, text: str) -> tuple[list[int], list[str]]:
    path.write_text(text, encoding="utf-8")
    results = list(iter_records(path))
    accepted = [
        json.loads(r[1]).get("n") for r in results if not isinstance(r, Rejected) and is_json(r[1])
    ]
    return accepted, [r.reason for r in results if isinstance(r, Rejected)]


def is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


def test_unclosed_quote_loses_only_its_record(tmp_path: Path) -> None:
    text = '[\n{"n": 1},\n{"n": 2, "t": "x},\n{"n": 3},\n{"n": 4}\n]\n'
    assert record_numbers(tmp_path / "a.json", text) == ([1, 3, 4], [])


@pytest.mark.parametrize("broken", ['{"n": 2}}', '{"n": [2]]}', "{n 2}", '"tea"', "[1, 2]x"])
def test_stray_bracket_or_junk_loses_only_its_record(broken: str, tmp_path: Path) -> None:
    text = f'[\n{{"n": 1}},\n{broken},\n{{"n": 3}}\n]\n'
    path = tmp_path / "a.json"
    path.write_text(text)
    raws = [r[1] for r in iter_records(path) if not isinstance(r, Rejected)]
    assert raws[0] == b'{"n": 1}'
    assert raws[-1] == b'{"n": 3}'


def test_missing_bracket_or_end_is_reported(tmp_path: Path) -> None:
    accepted, rejected = record_numbers(tmp_path / "a.json", '[{"n": 1}, {"n": 2')
    assert (accepted, rejected) == ([1], ["the JSON array has no end"])
    accepted, rejected = record_numbers(tmp_path / "a.json", '[{"n": 1}, {"n": 2, {"n": 3}]')
    assert (accepted, rejected) == ([1], ["the JSON array has no end"])


@settings(max_examples=40, deadline=None)
@given(
    expected=st.lists(st.dictionaries(st.text(), JSON_VALUES, min_size=1), min_size=1, max_size=3),
    indent=st.sampled_from([1, 4]),
    chunk=st.integers(1, 9),
)
def test_objects_of_several_lines_are_one_record_each(
    expected: list[dict[str, object]],
    indent: int,
    chunk: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "objects.json"
    path.write_text("\n".join(json.dumps(e, indent=indent) for e in expected), encoding="utf-8")
    original_chunk_size, _json_stream._CHUNK = _json_stream._CHUNK, chunk + 20
    try:
        assert read_records(path) == expected
    finally:
        _json_stream._CHUNK = original_chunk_size


def test_broken_object_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "n": 1,\n "m": [2,\n  3\n}\n', encoding="utf-8")
    (record,) = iter_records(path)
    assert not isinstance(record, Rejected)
    assert not is_json(record[1])


def test_broken_first_line_does_not_join_json_lines(tmp_path: Path) -> None:
    text = '{"n": 1\n{"n": 2}\n{"n": 3}\n'
    assert record_numbers(tmp_path / "a.json", text) == ([2, 3], [])


def test_array_that_a_script_assigns_is_read(tmp_path: Path) -> None:
    text = 'window.YTD.tweets.part0 = [{"n": 1}, {"n": 2}];\n'
    assert record_numbers(tmp_path / "a.js", text) == ([1, 2], [])


def test_content_behind_the_array_is_reported(tmp_path: Path) -> None:
    accepted, rejected = record_numbers(tmp_path / "a.json", '[{"n": 1}]\n[{"n": 2}]\n')
    assert accepted == [1]
    assert rejected == ["the JSON array ends here, and more follows, which was not read"]


def test_oversized_record_is_rejected_and_next_is_read(tmp_path: Path) -> None:
    long_record = json.dumps({"n": 2, "t": "x" * MAX_LINE_BYTES})
    accepted, rejected = record_numbers(
        tmp_path / "a.json", f'[{{"n": 1}}, {long_record}, {{"n": 3}}]'
    )
    assert accepted == [1, 3]
    assert len(rejected) == 1
    assert f"over the limit of {MAX_LINE_BYTES}" in rejected[0]


def test_long_word_at_the_start_takes_linear_time() -> None:
    began = time.process_time()
    first_record(b'{"id": "1"}\n{"text": "' + b"x" * 1_000_000)
    first_record(b"x" * 1_000_000)
    assert time.process_time() - began < 5
