"""Notes on an input are collected with the source that is read, once however often it is read."""

import warnings
from threading import Thread

import pytest

from gen_msa.data import ExampleSource
from gen_msa.errors import InputWarning
from gen_msa.input_notes import InputNotes


def _read(text: str = "t.csv: column 'a' is not read", **unused: int):
    warnings.warn(InputWarning(text, **unused), stacklevel=2)
    yield 1
    warnings.warn("t.csv is read as UTF-16", InputWarning, stacklevel=2)
    yield 2


@pytest.mark.filterwarnings("ignore::gen_msa.errors.InputWarning")
def test_two_passes_count_once_and_a_guess_counts_nothing() -> None:
    notes = InputNotes()
    for _ in range(2):
        assert list(notes.collect(lambda: _read(column=1))) == [1, 2]
    assert notes.texts == ("t.csv: column 'a' is not read", "t.csv is read as UTF-16")
    assert notes.unused == {"column": 1}


@pytest.mark.filterwarnings("ignore::gen_msa.errors.InputWarning")
def test_sources_read_in_turns_and_in_threads_keep_their_notes_apart(tmp_path) -> None:
    sources = [
        ExampleSource(name, tmp_path, lambda name=name, n=n: _read(f"{name}: not read", label=n))
        for name, n in (("a", 1), ("b", 2))
    ]
    for _ in zip(*(s.rows() for s in sources), strict=True):
        pass
    assert [s.notes.unused for s in sources] == [{"label": 1}, {"label": 2}]
    third = ExampleSource("c", tmp_path, lambda: _read("c: not read", label=4))
    thread = Thread(target=lambda: list(third.rows()))
    thread.start()
    thread.join()
    assert third.notes.unused == {"label": 4}


@pytest.mark.filterwarnings("ignore::gen_msa.errors.InputWarning")
def test_a_source_made_of_another_has_its_notes_too(tmp_path) -> None:
    inner = ExampleSource("a", tmp_path, lambda: _read(column=1))
    outer = ExampleSource("s3://a", tmp_path, lambda: (row for row in inner.rows()))
    list(outer.rows())
    assert outer.notes.unused == inner.notes.unused == {"column": 1}
