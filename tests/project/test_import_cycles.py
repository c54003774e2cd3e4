"""Modules import in one direction, and a package keeps its private modules to itself."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import gen_msa

PACKAGE = Path(gen_msa.__file__).parent

Imports = Mapping[str, set[str]]


def module_files(package: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module below `package`."""
    files = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def run_on_import(body: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements that run when a module is imported."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from run_on_import(node.body)
            yield from run_on_import(node.orelse)
        elif isinstance(node, ast.Try):
            handlers = [s for handler in node.handlers for s in handler.body]
            yield from run_on_import([*node.body, *handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.With | ast.ClassDef):
            yield from run_on_import(node.body)


def imported_names(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Dotted names of what a statement imports: modules, or members of them."""
    if isinstance(node, ast.Import):
        return {a.name for a in node.names}
    return {f"{node.module}.{a.name}" for a in node.names}


def import_graph(package: Path) -> Imports:
    """Module -> the modules of the same package that it imports when it is imported itself."""
    files = module_files(package)

    def module_of(name: str) -> str | None:
        parent = name.rpartition(".")[0]
        return name if name in files else parent if parent in files else None

    edges: dict[str, set[str]] = {}
    for module, path in files.items():
        nodes = run_on_import(ast.parse(path.read_text(encoding="utf-8")).body)
        imported_modules = {module_of(name) for node in nodes for name in imported_names(node)}
        edges[module] = {m for m in imported_modules if m} - {module}
    return edges


def cycles(edges: Imports) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in index:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[-len(component) :]
            if len(component) > 1:
                components.append(sorted(component))

    for module in edges:
        if module not in index:
            visit(module)
    return components


def private_imports(package: Path) -> list[str]:
    """Imports, inside functions too, of a private name of another first-level package."""
    violations = []
    for path in package.rglob("*.py"):
        own_package = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in (
                imported_names(node) if isinstance(node, ast.Import | ast.ImportFrom) else ()
            ):
                root, *parts = name.split(".")
                private = any(p.startswith("_") and not p.endswith("__") for p in parts)
                if root == package.name and private and parts[0] != own_package:
                    violations.append(f"{path.relative_to(package)} imports {name}")
    return violations


def test_modules_have_no_import_cycle() -> None:
    assert cycles(import_graph(PACKAGE)) == []


def test_no_package_imports_a_private_module_of_another() -> None:
    assert private_imports(PACKAGE) == []


def test_import_cycle_and_private_import_are_detected(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    (package / "low").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "low" / "__init__.py").write_text("from pkg.low._a import one\n")
    (package / "low" / "_a.py").write_text("try:\n    from pkg.low.b import two\nfinally: pass\n")
    (package / "low" / "b.py").write_text("import pkg.low._a\n")
    (package / "top.py").write_text("def f():\n    from pkg.low import _a\n")
    assert cycles(import_graph(package)) == [["pkg.low._a", "pkg.low.b"]]
    assert private_imports(package) == ["top.py imports pkg.low._a"]


def test_lazy_and_type_checking_imports_make_no_cycle(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("import pkg.b\n")
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.a import x\n"
    (package / "b.py").write_text(types + "def f():\n    import pkg.a\n")
    assert cycles(import_graph(package)) == []
