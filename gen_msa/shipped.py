"""Finds the files that ship beside the package: prompts, recipes, suites.

In a checkout they are the top-level folders `prompts/`, `finetune/`, `eval/`; in an installed wheel
they lie in `gen_msa/_shipped/`. A path the user gives that exists wins over a shipped name. Knows
nothing of what the files say.

    shipped("prompts", "reader/full", ".jinja")
"""

from pathlib import Path

from gen_msa.errors import UserError, did_you_mean

_PACKAGE = Path(__file__).parent
_IN_CHECKOUT = (_PACKAGE.parent / "pyproject.toml").is_file()


def folder(name: str) -> Path:
    """The shipped folder `name`: the checkout's copy, or the wheel's."""
    path = (_PACKAGE.parent if _IN_CHECKOUT else _PACKAGE / "_shipped") / name
    if not path.is_dir():
        raise UserError(f"the shipped folder {name!r} is missing", mend="reinstall gen-msa")
    return path


def names(name: str, suffix: str) -> list[str]:
    """Every shipped file of one kind in folder `name`, without its suffix: `reader/full`, …"""
    root = folder(name)
    found = (p.relative_to(root).as_posix() for p in root.rglob(f"*{suffix}"))
    return sorted(p.removesuffix(suffix) for p in found)


def shipped(name: str, part: str, suffix: str) -> Path:
    """The file called `part` in folder `name`: the user's own path, else the shipped one.

    Raises `UserError` with a suggestion when there is neither.
    """
    own = Path(part)
    if own.suffix == suffix and own.is_file():
        return own
    known = names(name, suffix)
    if part not in known:
        raise UserError(f"no {suffix} named {part!r} in {name}/", mend=did_you_mean(part, known))
    return folder(name) / f"{part}{suffix}"
