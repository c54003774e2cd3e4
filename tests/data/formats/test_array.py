"""JSON arrays are cut into records without being parsed, whatever their layout or damage."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.data.formats import _array
from gen_msa.data.formats._array import records
from gen_msa.jsonl import MAX_LINE
from gen_msa.types import Rejected

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def cut(path: Path) -> list[object]:
    found = list(records(path))
    assert not [r for r in found if isinstance(r, Rejected)]
    return [json.loads(raw) for r in found if not isinstance(r, Rejected) for raw in [r[1]]]


@settings(max_examples=60, deadline=None)
@given(
    found=st.lists(st.dictionaries(st.text(), JSON, min_size=1), max_size=4),
    indent=st.sampled_from([None, 0, 1, 4]),
    ascii=st.booleans(),
    chunk=st.integers(1, 9),
)
def test_records_are_what_a_parser_finds(
    found: list[dict[str, object]],
    indent: int | None,
    ascii: bool,
    chunk: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "a.json"
    path.write_bytes(b"\n " + json.dumps(found, indent=indent, ensure_ascii=ascii).encode())
    usual, _array._CHUNK = _array._CHUNK, chunk + 2
    try:
        assert cut(path) == found
    finally:
        _array._CHUNK = usual


def numbers(path: Path, text: str) -> tuple[list[int], list[str]]:
    path.write_text(text, encoding="utf-8")
    found = list(records(path))
    good = [
        json.loads(r[1]).get("n") for r in found if not isinstance(r, Rejected) and is_json(r[1])
    ]
    return good, [r.reason for r in found if isinstance(r, Rejected)]


def is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


def test_a_lost_quote_costs_its_own_record(tmp_path: Path) -> None:
    text = '[\n{"n": 1},\n{"n": 2, "t": "x},\n{"n": 3},\n{"n": 4}\n]\n'
    assert numbers(tmp_path / "a.json", text) == ([1, 3, 4], [])


@pytest.mark.parametrize("broken", ['{"n": 2}}', '{"n": [2]]}', "{n 2}", '"tea"', "[1, 2]x"])
def test_a_surplus_bracket_or_junk_costs_its_own_record_or_says_so(
    broken: str, tmp_path: Path
) -> None:
    text = f'[\n{{"n": 1}},\n{broken},\n{{"n": 3}}\n]\n'
    path = tmp_path / "a.json"
    path.write_text(text)
    raws = [r[1] for r in records(path) if not isinstance(r, Rejected)]
    assert raws[0] == b'{"n": 1}'
    assert raws[-1] == b'{"n": 3}'


def test_a_missing_bracket_or_end_is_said(tmp_path: Path) -> None:
    good, bad = numbers(tmp_path / "a.json", '[{"n": 1}, {"n": 2')
    assert (good, bad) == ([1], ["the JSON array has no end"])
    good, bad = numbers(tmp_path / "a.json", '[{"n": 1}, {"n": 2, {"n": 3}]')
    assert (good, bad) == ([1], ["the JSON array has no end"])


def test_a_record_over_the_limit_is_set_aside_and_the_next_is_read(tmp_path: Path) -> None:
    long = json.dumps({"n": 2, "t": "x" * MAX_LINE})
    good, bad = numbers(tmp_path / "a.json", f'[{{"n": 1}}, {long}, {{"n": 3}}]')
    assert good == [1, 3]
    assert len(bad) == 1
    assert f"over the limit of {MAX_LINE}" in bad[0]
