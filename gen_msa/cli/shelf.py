"""`gen-msa ls | show | cp`: what ships can be listed, read and copied out."""

import importlib
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from gen_msa.errors import UserError, did_you_mean

Kind = Annotated[
    str | None,
    typer.Argument(
        help="prompts, recipes, distill, accelerate, suites, published, datasets, formats, "
        "readers, students, cues, metrics, probes or gates."
    ),
]


class _Shelf(NamedTuple):
    """A kind of text file that ships, and what its copy is used with."""

    folder: str
    suffix: str
    use: str


_TEXTS = {
    "prompts": _Shelf("prompts", ".jinja", "--prompt"),
    "recipes": _Shelf("finetune/lora", ".yaml", "gen-msa finetune"),
    "distill": _Shelf("finetune/distill", ".yaml", "gen-msa distill"),
    "suites": _Shelf("eval/suites", ".yaml", "gen-msa evaluate"),
    "published": _Shelf("eval/published", ".yaml", "published="),
    "accelerate": _Shelf("finetune/accelerate", ".yaml", "accelerate launch --config_file"),
}


def ls(kind: Kind = None) -> None:
    """List what there is: prompts, recipes, datasets, formats, readers, cues."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kinds = _kinds()
    if kind is not None and kind not in kinds:
        raise UserError(f"nothing called {kind!r} to list", mend=did_you_mean(kind, kinds))
    for name in [kind] if kind else kinds:
        grid = Table.grid(padding=(0, 2))
        for item, about in kinds[name]():
            grid.add_row(Text(item, style="bold"), Text(about))
        Console().print(Text(name, style="dim"), grid)


def show(
    name: Annotated[str, typer.Argument(help="A prompt, recipe, dataset, format, reader or cue.")],
) -> None:
    """Print a prompt's or recipe's file, or what a part is and where its code lies."""
    texts = _texts(name)
    parts = {k: items for k, items in _kinds().items() if k not in _TEXTS}
    found = [(k, about) for k, items in parts.items() for n, about in items() if n == name]
    if texts and not found:
        print(texts[0][1].read_text(encoding="utf-8"), end="")
        return
    if not found:
        known = [n for items in _kinds().values() for n, _ in items()]
        raise UserError(f"nothing called {name!r}", mend=did_you_mean(name, known))
    for kind, about in found:
        print(f"{kind}: {name}\n{about}")
    for kind, path in texts:
        print(f"{kind}: {name}\n{_about(path)} (gen-msa show {_TEXTS[kind].folder}/{name})")


def cp(
    name: Annotated[str, typer.Argument(help="A prompt or recipe, e.g. reader/full, tiny_cpu.")],
    target: Annotated[Path, typer.Argument(help="Where to put it.")],
) -> None:
    """Copy a prompt or recipe out, to change it; then name TARGET where its name stood."""
    found = _texts(name)
    if not found:
        known = [n for kind in _TEXTS for n in _names(kind)]
        raise UserError(f"no file called {name!r} ships", mend=did_you_mean(name, known))
    kind, path = found[0]
    if target.is_dir():
        target = target / path.name
    if target.exists():
        raise UserError(f"{target} is already there", mend="name another file")
    shutil.copyfile(path, target)
    print(f"wrote {target}; use it with {_TEXTS[kind].use} {target}")


def _texts(name: str) -> list[tuple[str, Path]]:
    """Shipped files called `name`, or `finetune/lora/NAME` with its folder; each with its kind."""
    from gen_msa import shipped

    found = []
    for kind, (folder, suffix, _) in _TEXTS.items():
        short = name.removeprefix(f"{folder}/").removesuffix(suffix)
        if short in _names(kind):
            found.append((kind, shipped.folder(folder) / f"{short}{suffix}"))
    return found


def _names(kind: str) -> list[str]:
    from gen_msa import shipped

    return shipped.names(_TEXTS[kind].folder, _TEXTS[kind].suffix)


def _about(path: Path) -> str:
    """The first paragraph of the comment that a YAML opens with."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return " ".join(line[2:] for line in itertools.takewhile(lambda x: x.startswith("# "), lines))


def _yamls(kind: str) -> list[tuple[str, str]]:
    from gen_msa import shipped

    root = shipped.folder(_TEXTS[kind].folder)
    return [(name, _about(root / f"{name}.yaml")) for name in _names(kind)]


def _kinds() -> dict[str, Callable[[], list[tuple[str, str]]]]:
    return {
        "prompts": _prompts,
        "recipes": lambda: _yamls("recipes"),
        "distill": lambda: _yamls("distill"),
        "accelerate": lambda: _yamls("accelerate"),
        "suites": lambda: _yamls("suites"),
        "published": lambda: _yamls("published"),
        "datasets": _datasets,
        "formats": _formats,
        "readers": _readers,
        "students": lambda: _parts("students"),
        "cues": lambda: _parts("cues"),
        "metrics": lambda: _parts("metrics"),
        "probes": lambda: _parts("evaluating/probing", "probes"),
        "gates": lambda: _parts("annotating/gates", "gates"),
    }


def _prompts() -> list[tuple[str, str]]:
    from gen_msa import prompting

    named = [(n, prompting.load(n)) for n in prompting.names()]
    return [(n, f"{p.task}: {p.about}") for n, p in named]


def _datasets() -> list[tuple[str, str]]:
    from gen_msa.data import datasets

    named = [(n, datasets[n]) for n in datasets.names()]
    return [(n, f"{d.about} Splits: {', '.join(d.splits)}.") for n, d in named]


def _formats() -> list[tuple[str, str]]:
    from gen_msa.data.formats import formats

    named = [(n, formats[n]) for n in formats.names()]
    return [(n, f"{f.about} {' '.join(f.suffixes)}".strip()) for n, f in named]


def _readers() -> list[tuple[str, str]]:
    from gen_msa import readers

    return [(name, _first_line(name, "readers", "backends")) for name in readers.names()]


def _parts(room: str, registry: str = "") -> list[tuple[str, str]]:
    """Every registered part of a room; `registry` where it is not called as the room is."""
    door = importlib.import_module(f"gen_msa.{room.replace('/', '.')}")
    parts = getattr(door, registry or room)
    return [(name, _first_line(name, room)) for name in parts.names()]


def _first_line(name: str, *rooms: str) -> str:
    """The first line of a part's docstring, read without importing what it needs."""
    import ast

    here = Path(__file__).parent.parent
    for room in rooms:
        path = here / room / f"{name}.py"
        if path.is_file():
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            return doc.partition("\n")[0]
    return "from another package"
