"""Files and functions stay readable: at most 600 lines a file, 60 a function, p90 at most 25."""

import ast
from pathlib import Path

import gen_msa

ROOT = Path(gen_msa.__file__).parent.parent
FILES = [
    p
    for folder in ("gen_msa", "eval", "finetune")
    for p in (ROOT / folder).rglob("*.py")
    if "_resources" not in p.parts
]


def function_lengths(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    function_nodes = [n for n in ast.walk(tree) if isinstance(n, kinds)]
    return [(f"{path.name}:{n.name}", (n.end_lineno or 0) - n.lineno + 1) for n in function_nodes]


def test_no_file_exceeds_600_lines() -> None:
    long_files = {p.name: n for p in FILES if (n := len(p.read_text("utf-8").splitlines())) > 600}
    assert long_files == {}


def test_no_function_exceeds_60_lines_and_most_are_short() -> None:
    sizes = sorted((n, name) for p in FILES for name, n in function_lengths(p))
    assert [name for n, name in sizes if n > 60] == []
    assert sizes[int(0.9 * (len(sizes) - 1))][0] <= 25


def test_every_module_has_a_docstring() -> None:
    undocumented = [p.name for p in FILES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert undocumented == []
