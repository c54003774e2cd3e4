"""A shelf keeps what was looked at, forgets what was not, and stays within its bound."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.towers.shelf import VARIABLE, Shelf, bound


def aged(shelf, key, seconds):
    os.utime(shelf.path(key), (seconds, seconds))


def held(folder):
    return sum(p.stat().st_size for p in folder.glob("??/*"))


def test_what_was_looked_at_stays_and_the_oldest_goes(tmp_path):
    shelf = Shelf(tmp_path / "s", most=100)
    for number, key in enumerate(("aa1", "bb2", "cc3")):
        shelf.put(key, bytes(30))
        aged(shelf, key, number + 1)
    assert shelf.get("aa1") == bytes(30)
    shelf.put("dd4", bytes(30))
    assert [shelf.get(k) is not None for k in ("aa1", "bb2", "cc3", "dd4")] == [
        True,
        False,
        True,
        True,
    ]


@given(sizes=st.lists(st.integers(0, 40), max_size=40))
@settings(max_examples=25, deadline=None)
def test_the_bound_holds_after_every_file(tmp_path_factory, sizes):
    shelf = Shelf(tmp_path_factory.mktemp("s"), most=100)
    for number, size in enumerate(sizes):
        shelf.put(f"{number:04}", bytes(size))
        assert held(shelf.folder) <= 100
        assert shelf.get(f"{number:04}") == bytes(size)


def test_files_of_earlier_runs_count(tmp_path):
    Shelf(tmp_path, most=100).put("aa1", bytes(80))
    later = Shelf(tmp_path, most=100)
    later.put("bb2", bytes(80))
    assert later.get("aa1") is None
    assert held(tmp_path) == 80


def test_a_file_of_one_key_is_written_again_whole(tmp_path):
    shelf = Shelf(tmp_path, most=100)
    shelf.put("aa1", b"one")
    shelf.put("aa1", b"two")
    assert shelf.get("aa1") == b"two"
    assert shelf.get("zz9") is None


@pytest.mark.parametrize(("said", "most"), [("2.5", 2_500_000_000), (None, 10_000_000_000)])
def test_the_bound_is_the_environments(said, most, monkeypatch):
    if said is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, said)
    assert bound() == most


@pytest.mark.parametrize("said", ["", "much", "0", "-1", "inf", "nan"])
def test_no_number_is_named(said, monkeypatch):
    monkeypatch.setenv(VARIABLE, said)
    with pytest.raises(UserError, match=VARIABLE):
        bound()
