"""Measure the structure of the code: sizes, class names, private imports, files a verb enters.

    python eval/structure.py            # counts, from the source alone
    python eval/structure.py --entered  # also runs explain, finetune, distill and evaluate

A file counts as entered when a function of it is called under `sys.setprofile`, in any thread of
the process; running a module's body on import does not count. `distill` and `evaluate` read shipped
posts and what the run itself has written, so that no data set is needed.
"""

import ast
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_PROFILED = """
import sys, threading
from gen_msa import cli
files = set()
def profile(frame, event, argument):
    if event == "call" and frame.f_code.co_flags & 1:  # bodies of modules and classes are not calls
        files.add(frame.f_code.co_filename)
threading.setprofile(profile)
sys.setprofile(profile)
sys.argv = ["gen-msa", *{arguments!r}]
try:
    cli.main()
except SystemExit as e:
    assert not e.code, e.code
finally:
    sys.setprofile(None)
    with open({out!r}, "w") as f:
        f.write("\\n".join(sorted(p for p in files if "/gen_msa/" in p)))
"""

VERBS = {
    "explain": ["explain", "--text", "Great screen, awful battery", "--aspect", "screen"],
    "finetune tiny_cpu": ["finetune", "tiny_cpu", "output_dir=adapter", "max_steps=2"],
    "distill text": [
        "distill",
        "text",
        "data=[{source: tiny}]",
        "dev=[{source: tiny}]",
        "output_dir=student",
        "num_train_epochs=1",
    ],
    "evaluate": ["evaluate", "tiny:all", "--model", "builtin", "-o", "evaluation"],
}
"""Command lines, run in this order in one empty folder."""


def modules() -> dict[Path, ast.Module]:
    """Parse every module of the package."""
    paths = [p for p in sorted((ROOT / "gen_msa").rglob("*.py")) if "_resources" not in p.parts]
    return {p: ast.parse(p.read_text("utf-8")) for p in paths}


def class_names(trees: dict[Path, ast.Module]) -> dict[str, list[Path]]:
    """List the public class names that more than one module defines."""
    where: dict[str, set[Path]] = defaultdict(set)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].add(path)
    return {name: sorted(paths) for name, paths in sorted(where.items()) if len(paths) > 1}


def private_imports(trees: dict[Path, ast.Module]) -> list[str]:
    """List imports of a `_private` module from outside its top-level package."""
    crossings = []
    for path, tree in trees.items():
        package = path.relative_to(ROOT).parts[1]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in [node.module, *(f"{node.module}.{a.name}" for a in node.names)]:
                    parts = name.split(".")
                    target = ROOT.joinpath(*parts).with_suffix(".py")
                    private = any(p.startswith("_") for p in parts[2:])
                    foreign = parts[0] == "gen_msa" and parts[1:2] != [package]
                    if foreign and private and target.exists():
                        crossings.append(f"{path.relative_to(ROOT)}: {name}")
    return sorted(set(crossings))


def entered() -> dict[str, list[str]]:
    """Run each verb under a profiler; return the files of the package whose functions it called."""
    counts: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for verb, arguments in VERBS.items():
            out = Path(folder, "files.txt")
            _python(_PROFILED.format(arguments=arguments, out=str(out)), folder)
            counts[verb] = out.read_text("utf-8").split("\n")
    return counts


def _python(code: str, folder: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def main() -> None:
    """Print the counts."""
    trees = modules()
    sizes = sorted(len(p.read_text("utf-8").splitlines()) for p in trees)
    median = statistics.median(sizes)
    print(f"files {len(sizes)}, lines {sum(sizes)}, median {median:.0f}, max {sizes[-1]}")
    names = class_names(trees)
    print(f"public class names in more than one module: {len(names)}")
    for name, paths in names.items():
        print(f"  {name}: {', '.join(str(p.relative_to(ROOT)) for p in paths)}")
    crossings = private_imports(trees)
    print(f"imports of another package's private module: {len(crossings)}", *crossings, sep="\n  ")
    if "--entered" in sys.argv:
        for verb, files in entered().items():
            print(f"files entered by {verb}: {len(files)}")
            print(json.dumps([f.rpartition("/gen_msa/")[2] for f in files]))


if __name__ == "__main__":
    main()
