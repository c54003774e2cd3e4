from collections.abc import Callable
from typing import NamedTuple

import pytest

from gen_msa.cli import main


class CliResult(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def gen_msa(monkeypatch: pytest.MonkeyPatch, capfdbinary) -> Callable[..., CliResult]:
    """Run `gen-msa` in this process, as its console script would."""

    def run(*arguments: object) -> CliResult:
        monkeypatch.setattr("sys.argv", ["gen-msa", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        out, err = capfdbinary.readouterr()
        return CliResult(code, out.decode(), err.decode())

    return run
