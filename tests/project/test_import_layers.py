"""Imports go down only, and packages of one layer do not import each other."""

import ast
from pathlib import Path

import gen_msa

PACKAGE = Path(gen_msa.__file__).parent
FOUNDATION = {
    "answer_cache",
    "chat",
    "disk_cache",
    "errors",
    "formula_guard",
    "hosts",
    "input_notes",
    "jsonl",
    "language",
    "manifest",
    "preemption",
    "prefetch",
    "registry",
    "resources",
    "results",
    "safety_scan",
    "settings",
    "spans",
    "template_limits",
    "types",
}
"""Modules that may import each other."""
LAYERS = [
    FOUNDATION,
    {"media", "encoders"},
    {"cues", "metrics"},
    {"data", "prompting", "backends", "builtin", "models", "pseudonyms", "report"},
    {"predictors"},
    {"training"},
    {"annotation", "finetuning", "distillation", "evaluation", "serving"},
    {"api"},
    {"cli"},
    {"__main__"},
]
LAYER_OF = {package: i for i, packages in enumerate(LAYERS) for package in packages}


def imported_packages(path: Path) -> set[str]:
    """Return the packages of gen_msa that a module imports, inside functions too."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            names = {f"{node.module}.{a.name}" for a in node.names}
            modules |= names if node.module == "gen_msa" else {node.module or ""}
    return {m.split(".")[1] for m in modules if m.startswith("gen_msa.")} - {"__version__"}


def test_every_module_imports_lower_layers_or_its_own_package() -> None:
    violations = []
    for path in PACKAGE.rglob("*.py"):
        package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if package == "__init__":
            continue
        assert package in LAYER_OF, f"{package} has no layer: give it one here and in CONTRIBUTING"
        for imported in imported_packages(path) - {package}:
            same_foundation = {imported, package} <= FOUNDATION
            if LAYER_OF[imported] >= LAYER_OF[package] and not same_foundation:
                violations.append(f"{path.relative_to(PACKAGE)} imports {imported}")
    assert violations == []


def test_upward_import_is_detected(tmp_path: Path) -> None:
    bad_module = tmp_path / "x.py"
    bad_module.write_text(
        "def f():\n    from gen_msa.predictors import make\n    import gen_msa.cli.demo\n"
    )
    assert imported_packages(bad_module) == {"predictors", "cli"}
