"""An LRU cache keeps recently used files, evicts others and stays within its size limit."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.disk_cache import SIZE_VARIABLE, LruDiskCache, max_cache_bytes
from gen_msa.errors import UserError


def set_mtime(cache, key, seconds):
    os.utime(cache.path(key), (seconds, seconds))


def used_bytes(folder):
    return sum(p.stat().st_size for p in folder.glob("??/*"))


def test_least_recently_used_entry_is_evicted(tmp_path):
    cache = LruDiskCache(tmp_path / "s", max_bytes=100)
    for number, key in enumerate(("aa1", "bb2", "cc3")):
        cache.put(key, bytes(30))
        set_mtime(cache, key, number + 1)
    assert cache.get("aa1") == bytes(30)
    cache.put("dd4", bytes(30))
    assert [cache.get(k) is not None for k in ("aa1", "bb2", "cc3", "dd4")] == [
        True,
        False,
        True,
        True,
    ]


@given(sizes=st.lists(st.integers(0, 40), max_size=40))
@settings(max_examples=25, deadline=None)
def test_size_limit_holds_after_every_put(tmp_path_factory, sizes):
    cache = LruDiskCache(tmp_path_factory.mktemp("s"), max_bytes=100)
    for number, size in enumerate(sizes):
        cache.put(f"{number:04}", bytes(size))
        assert used_bytes(cache.folder) <= 100
        assert cache.get(f"{number:04}") == bytes(size)


def test_files_of_earlier_runs_count_toward_the_limit(tmp_path):
    LruDiskCache(tmp_path, max_bytes=100).put("aa1", bytes(80))
    later = LruDiskCache(tmp_path, max_bytes=100)
    later.put("bb2", bytes(80))
    assert later.get("aa1") is None
    assert used_bytes(tmp_path) == 80


def test_put_of_an_existing_key_replaces_its_value(tmp_path):
    cache = LruDiskCache(tmp_path, max_bytes=100)
    cache.put("aa1", b"one")
    cache.put("aa1", b"two")
    assert cache.get("aa1") == b"two"
    assert cache.get("zz9") is None


@pytest.mark.parametrize(("value", "expected"), [("2.5", 2_500_000_000), (None, 10_000_000_000)])
def test_size_limit_comes_from_the_environment(value, expected, monkeypatch):
    if value is None:
        monkeypatch.delenv(SIZE_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(SIZE_VARIABLE, value)
    assert max_cache_bytes() == expected


@pytest.mark.parametrize("value", ["", "much", "0", "-1", "inf", "nan"])
def test_invalid_size_limit_names_the_variable(value, monkeypatch):
    monkeypatch.setenv(SIZE_VARIABLE, value)
    with pytest.raises(UserError, match=SIZE_VARIABLE):
        max_cache_bytes()
