"""`gen-msa ls | show | cp`: list, print and copy the packaged prompts, recipes and parts."""

import importlib
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from gen_msa.errors import UserError, did_you_mean

KindArgument = Annotated[
    str | None,
    typer.Argument(
        help="models, students, prompts, recipes, distill, accelerate, suites, published, "
        "datasets, formats, cues, metrics, probes or filters."
    ),
]


class _ResourceKind(NamedTuple):
    """A kind of packaged text file, and the option that takes a copy of it."""

    folder: str
    suffix: str
    usage: str


_RESOURCE_KINDS = {
    "prompts": _ResourceKind("prompts", ".jinja", "--prompt"),
    "recipes": _ResourceKind("finetune/lora", ".yaml", "gen-msa finetune"),
    "distill": _ResourceKind("finetune/distill", ".yaml", "gen-msa distill"),
    "suites": _ResourceKind("eval/suites", ".yaml", "gen-msa evaluate"),
    "published": _ResourceKind("eval/published", ".yaml", "published="),
    "accelerate": _ResourceKind("finetune/accelerate", ".yaml", "accelerate launch --config_file"),
}


def ls(kind: KindArgument = None) -> None:
    """List models, students, prompts, recipes, datasets, formats and other named parts."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listings = _listings()
    if kind is not None and kind not in listings:
        raise UserError(f"no kind named {kind!r}", hint=did_you_mean(kind, listings))
    for name in [kind] if kind else listings:
        grid = Table.grid(padding=(0, 2))
        for item, about in listings[name]():
            grid.add_row(Text(item, style="bold"), Text(about))
        Console().print(Text(name, style="dim"), grid)


def show(
    name: Annotated[str, typer.Argument(help="A prompt, recipe, dataset, format, model or cue.")],
) -> None:
    """Print the file of a prompt or recipe, or the description of another part."""
    files = _find_files(name)
    parts = {k: items for k, items in _listings().items() if k not in _RESOURCE_KINDS}
    matches = [(k, about) for k, items in parts.items() for n, about in items() if n == name]
    if files and not matches:
        print(files[0][1].read_text(encoding="utf-8"), end="")
        return
    if not matches:
        available_names = [n for items in _listings().values() for n, _ in items()]
        raise UserError(f"nothing named {name!r}", hint=did_you_mean(name, available_names))
    for kind, about in matches:
        print(f"{kind}: {name}\n{about}")
    for kind, path in files:
        command = f"gen-msa show {_RESOURCE_KINDS[kind].folder}/{name}"
        print(f"{kind}: {name}\n{_yaml_summary(path)} ({command})")


def cp(
    name: Annotated[str, typer.Argument(help="A prompt or recipe, e.g. predict/full, tiny_cpu.")],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
) -> None:
    """Copy a prompt or recipe to TARGET, to edit it and use it by that path."""
    files = _find_files(name)
    if not files:
        available_names = [n for kind in _RESOURCE_KINDS for n in _resource_names(kind)]
        raise UserError(
            f"no packaged file named {name!r}", hint=did_you_mean(name, available_names)
        )
    kind, path = files[0]
    if target.is_dir():
        target = target / path.name
    if target.exists():
        raise UserError(f"{target} exists already", hint="give another file")
    shutil.copyfile(path, target)
    print(f"wrote {target}; use it with {_RESOURCE_KINDS[kind].usage} {target}")


def _find_files(name: str) -> list[tuple[str, Path]]:
    """Return the packaged files named `name` (with or without their folder), with their kinds."""
    from gen_msa import resources

    files = []
    for kind, (folder, suffix, _) in _RESOURCE_KINDS.items():
        short_name = name.removeprefix(f"{folder}/").removesuffix(suffix)
        if short_name in _resource_names(kind):
            files.append((kind, resources.resource_folder(folder) / f"{short_name}{suffix}"))
    return files


def _resource_names(kind: str) -> list[str]:
    from gen_msa import resources

    return resources.resource_names(_RESOURCE_KINDS[kind].folder, _RESOURCE_KINDS[kind].suffix)


def _yaml_summary(path: Path) -> str:
    """Return the first paragraph of the comment at the top of a YAML file."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return " ".join(line[2:] for line in itertools.takewhile(lambda x: x.startswith("# "), lines))


def _list_yamls(kind: str) -> list[tuple[str, str]]:
    from gen_msa import resources

    root = resources.resource_folder(_RESOURCE_KINDS[kind].folder)
    return [(name, _yaml_summary(root / f"{name}.yaml")) for name in _resource_names(kind)]


def _listings() -> dict[str, Callable[[], list[tuple[str, str]]]]:
    return {
        "models": _list_predictors,
        "students": lambda: _list_parts("models"),
        "prompts": _list_prompts,
        "recipes": lambda: _list_yamls("recipes"),
        "distill": lambda: _list_yamls("distill"),
        "accelerate": lambda: _list_yamls("accelerate"),
        "suites": lambda: _list_yamls("suites"),
        "published": lambda: _list_yamls("published"),
        "datasets": _list_datasets,
        "formats": _list_formats,
        "cues": lambda: _list_parts("cues", "cue_sources"),
        "metrics": lambda: _list_parts("metrics"),
        "probes": lambda: _list_parts("evaluation/probes", "probes"),
        "filters": lambda: _list_parts("annotation/filters", "filters"),
    }


def _list_prompts() -> list[tuple[str, str]]:
    from gen_msa import prompting

    prompts = [(n, prompting.load_prompt(n)) for n in prompting.prompt_names()]
    return [(n, f"{p.task}: {p.about}") for n, p in prompts]


def _list_datasets() -> list[tuple[str, str]]:
    from gen_msa.data import datasets

    named_datasets = [(n, datasets[n]) for n in datasets.names()]
    return [(n, f"{d.about} Splits: {', '.join(d.splits)}.") for n, d in named_datasets]


def _list_formats() -> list[tuple[str, str]]:
    from gen_msa.data.formats import formats

    named_formats = [(n, formats[n]) for n in formats.names()]
    return [(n, f"{f.about} {' '.join(f.suffixes)}".strip()) for n, f in named_formats]


def _list_predictors() -> list[tuple[str, str]]:
    from gen_msa import predictors

    return [
        (name, _docstring_summary(name, "predictors", "backends")) for name in predictors.names()
    ]


def _list_parts(package: str, registry: str = "") -> list[tuple[str, str]]:
    """Return the registered parts of a package; `registry` defaults to the package's name."""
    package_module = importlib.import_module(f"gen_msa.{package.replace('/', '.')}")
    parts = getattr(package_module, registry or package)
    return [(name, _docstring_summary(name, package)) for name in parts.names()]


def _docstring_summary(name: str, *packages: str) -> str:
    """Return the first line of a part's docstring without importing the part."""
    import ast

    package_root = Path(__file__).parent.parent
    for package in packages:
        path = package_root / package / f"{name}.py"
        if path.is_file():
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            return doc.partition("\n")[0]
    return "from another package"
