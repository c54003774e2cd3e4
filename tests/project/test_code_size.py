"""Files have at most 600 lines, functions 60 below their parameters; 90 % at most 25 of code."""

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
    return [
        (f"{path.name}:{n.name}", (n.end_lineno or 0) - n.body[0].lineno + 1)
        for n in function_nodes
    ]


def code_lengths(path: Path) -> list[int]:
    """Return the lines of each function without its docstring."""
    lengths = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            is_documented = ast.get_docstring(node) is not None
            doc = (first.end_lineno or 0) - first.lineno + 1 if is_documented else 0
            lengths.append((node.end_lineno or 0) - node.lineno + 1 - doc)
    return sorted(lengths)


def test_no_file_exceeds_600_lines() -> None:
    long_files = {p.name: n for p in FILES if (n := len(p.read_text("utf-8").splitlines())) > 600}
    assert long_files == {}


def test_no_function_exceeds_60_lines_and_most_are_short() -> None:
    sizes = sorted((n, name) for p in FILES for name, n in function_lengths(p))
    assert [name for n, name in sizes if n > 60] == []
    code = sorted(n for p in FILES for n in code_lengths(p))
    assert code[int(0.9 * (len(code) - 1))] <= 25


def test_every_module_has_a_docstring() -> None:
    undocumented = [p.name for p in FILES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert undocumented == []


def test_no_public_class_name_is_defined_in_two_modules() -> None:
    modules_by_name: dict[str, set[Path]] = {}
    bases_by_name: dict[str, set[str]] = {}
    for path in FILES:
        if "gen_msa" not in path.relative_to(ROOT).parts[0]:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules_by_name.setdefault(node.name, set()).add(path.relative_to(ROOT))
                bases = {ast.unparse(b).split("[")[0].split(".")[-1] for b in node.bases}
                bases_by_name.setdefault(node.name, set()).update(bases)
    homonyms = {
        name: sorted(map(str, paths))
        for name, paths in modules_by_name.items()
        # A subclass may carry its base's name.
        if len(paths) > 1 and name not in bases_by_name[name]
    }
    assert homonyms == {}
