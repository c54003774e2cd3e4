"""`gen-msa ls | show | cp`: what ships can be listed, read and copied out."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gen_msa.errors import UserError, did_you_mean

Kind = Annotated[str, typer.Argument(help="prompts, datasets, formats, readers or cues.")]


def ls(kind: Annotated[str | None, typer.Argument(help=Kind.__metadata__[0].help)] = None) -> None:
    """List what there is: prompts, datasets, formats, readers, cues."""
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
    name: Annotated[str, typer.Argument(help="A prompt, dataset, format, reader or cue.")],
) -> None:
    """Print a prompt's file, or what a part is and where its code lies."""
    from gen_msa import shipped

    if name in shipped.names("prompts", ".jinja"):
        print(shipped.shipped("prompts", name, ".jinja").read_text(encoding="utf-8"), end="")
        return
    found = [(k, about) for k, items in _kinds().items() for n, about in items() if n == name]
    if not found:
        known = [n for items in _kinds().values() for n, _ in items()]
        raise UserError(f"nothing called {name!r}", mend=did_you_mean(name, known))
    for kind, about in found:
        print(f"{kind}: {name}\n{about}")


def cp(
    name: Annotated[str, typer.Argument(help="A prompt, e.g. reader/full.")],
    target: Annotated[Path, typer.Argument(help="Where to put it.")],
) -> None:
    """Copy a prompt out, to change it: use it with --prompt TARGET."""
    from gen_msa import shipped

    path = shipped.shipped("prompts", name, ".jinja")
    if target.is_dir():
        target = target / path.name
    if target.exists():
        raise UserError(f"{target} is already there", mend="name another file")
    shutil.copyfile(path, target)
    print(f"wrote {target}")


def _kinds() -> dict[str, Callable[[], list[tuple[str, str]]]]:
    return {
        "prompts": _prompts,
        "datasets": _datasets,
        "formats": _formats,
        "readers": _readers,
        "cues": _cues,
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


def _cues() -> list[tuple[str, str]]:
    from gen_msa.cues import cues

    return [(name, _first_line(name, "cues")) for name in cues.names()]


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
