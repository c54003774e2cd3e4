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


def resource_folder(folder_name: str) -> Path:
    """The shipped folder `name`: the checkout's copy, or the wheel's."""
    path = (_PACKAGE.parent if _IN_CHECKOUT else _PACKAGE / "_shipped") / folder_name
    if not path.is_dir():
        raise UserError(f"the shipped folder {folder_name!r} is missing", hint="reinstall gen-msa")
    return path


def resource_names(folder_name: str, suffix: str) -> list[str]:
    """Every shipped file of one kind in folder `name`, without its suffix: `reader/full`, …"""
    root = resource_folder(folder_name)
    files = (p.relative_to(root).as_posix() for p in root.rglob(f"*{suffix}"))
    return sorted(p.removesuffix(suffix) for p in files)


def find_resource(folder_name: str, resource_name: str, suffix: str) -> Path:
    """The file called `part` in folder `name`: the user's own path, else the shipped one.

    Raises `UserError` with a suggestion when there is neither.
    """
    user_path = Path(resource_name)
    if user_path.suffix == suffix and user_path.is_file():
        return user_path
    available = resource_names(folder_name, suffix)
    if resource_name not in available:
        raise UserError(
            f"no {suffix} named {resource_name!r} in {folder_name}/",
            hint=did_you_mean(resource_name, available),
        )
    return resource_folder(folder_name) / f"{resource_name}{suffix}"
