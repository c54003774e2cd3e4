"""Imports go down only, and rooms of one floor do not import each other."""

import ast
from pathlib import Path

import gen_msa

PACKAGE = Path(gen_msa.__file__).parent
FLOORS = [
    {
        "errors",
        "types",
        "results",
        "chat",
        "registry",
        "shipped",
        "settings",
        "jsonl",
        "ledger",
        "manifest",
        "spans",
        "states",
        "launching",
        "feeding",
    },
    {"media", "towers"},
    {"cues", "metrics"},
    {"data", "prompting", "backends", "builtin", "report", "students", "corruption"},
    {"readers"},
    {"annotating", "finetuning", "distilling", "evaluating", "serving"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(path: Path) -> set[str]:
    """The rooms of the house that a module imports, inside functions too."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            names = {f"{node.module}.{a.name}" for a in node.names}
            modules |= names if node.module == "gen_msa" else {node.module or ""}
    return {m.split(".")[1] for m in modules if m.startswith("gen_msa.")} - {"__version__"}


def test_every_module_imports_lower_floors_or_its_own_room_only() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        assert room in FLOOR_OF, f"{room} has no floor: give it one in this test and DESIGN"
        for other in imported_rooms(path) - {room}:
            same_foundation = FLOOR_OF[other] == FLOOR_OF[room] == 0
            if FLOOR_OF[other] >= FLOOR_OF[room] and not same_foundation:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert wrong == []


def test_the_check_sees_an_upward_import(tmp_path: Path) -> None:
    bad = tmp_path / "x.py"
    bad.write_text("def f():\n    from gen_msa.readers import make\n    import gen_msa.cli.demo\n")
    assert imported_rooms(bad) == {"readers", "cli"}
