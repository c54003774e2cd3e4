"""Find the files that come with the package: prompts, recipes, suites.

In a checkout they are the top-level folders `prompts/`, `finetune/`, `eval/`; in an installed wheel
they are in `gen_msa/_resources/`. An existing path given by the user wins over a packaged name.

    find_resource("prompts", "predict/full", ".jinja")
"""

from pathlib import Path

from gen_msa.errors import UserError, did_you_mean

_PACKAGE = Path(__file__).parent
_IN_CHECKOUT = (_PACKAGE.parent / "pyproject.toml").is_file()


def resource_folder(folder_name: str) -> Path:
    """Return a packaged folder: that of the checkout, or that of the wheel.

    Raises:
        UserError: The installation is incomplete.
    """
    path = (_PACKAGE.parent if _IN_CHECKOUT else _PACKAGE / "_resources") / folder_name
    if not path.is_dir():
        raise UserError(
            f"the folder {folder_name!r} of the installation is missing", hint="reinstall gen-msa"
        )
    return path


def resource_names(folder_name: str, suffix: str) -> list[str]:
    """List the packaged files of one kind, without their suffix, e.g. `predict/full`.

    Args:
        folder_name: `prompts`, `finetune/lora`, `eval/suites`, …
        suffix: Suffix of the files, with its dot.

    Returns:
        The names, sorted, with `/` between folders.
    """
    root = resource_folder(folder_name)
    files = (p.relative_to(root).as_posix() for p in root.rglob(f"*{suffix}"))
    return sorted(p.removesuffix(suffix) for p in files)


def find_resource(folder_name: str, resource_name: str, suffix: str) -> Path:
    """Return the path of a user's own file or of a packaged one.

    Args:
        folder_name: Packaged folder to search.
        resource_name: Path of a file with this suffix, or a name as `resource_names` lists it.
        suffix: Suffix of the file, with its dot.

    Raises:
        UserError: There is neither; the hint names the nearest packaged name.
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
