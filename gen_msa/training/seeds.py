"""The same recipe trained with several seeds, one folder each, and their spread.

BASE/seed-0, BASE/seed-1, … are complete runs. BASE/seeds.json lists the finished ones, so that a
run that was stopped goes on with the rest, and `evaluate --model student:BASE` finds them all.

    train_seeds(start, recipe, "text", overrides, 3)
    expand_seeds("student:students/text")       # ["student:students/text/seed-0/student", ...]
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Protocol

from pydantic import Field

from gen_msa.errors import UserError
from gen_msa.jsonl import atomic_write
from gen_msa.types import FrozenModel

INDEX = "seeds.json"


class FinishedSeed(FrozenModel):
    """One finished run."""

    seed: int
    folder: str
    """Of the adapter or student, relative to the folder of `seeds.json`."""
    recipe: str
    """The settings of the run as JSON, without `resume`; another recipe is trained again."""
    dev: dict[str, float] = Field(default_factory=dict)
    """Metrics on the dev sources, as means over them; shares in 0..1."""


class SeedIndex(FrozenModel):
    """What `seeds.json` holds."""

    kind: str
    """`adapter` or `student`."""
    model: str = ""
    """The base model of an adapter."""
    runs: tuple[FinishedSeed, ...] = ()


class Recipe(Protocol):
    """The part of both kinds of recipes that is used here."""

    output_dir: str

    def model_dump_json(self, *, exclude: set[str]) -> str:
        """Return the settings as JSON."""
        ...


def train_seeds(
    start: Callable[..., Path],
    load_recipe: Callable[[str, Sequence[str]], Any],
    name: str,
    overrides: Sequence[str],
    count: int,
    *,
    dry_run: bool = False,
    resume: bool | None = None,
) -> list[Path]:
    """Train a recipe with the seeds 0 to `count - 1`, and write `seeds.json` beside the runs.

    A seed that is finished with the same settings is not trained again, unless `resume` is False.

    Args:
        start: `finetuning.start` or `distillation.start`.
        load_recipe: Its `load_recipe`.
        name: A recipe's name, or a YAML file.
        overrides: `key=value` settings on top of it.
        count: The number of seeds, at least 2.
        dry_run: Try the first seed only; write nothing.
        resume: Whether to go on from checkpoints and finished seeds; None leaves it to the recipe.

    Returns:
        The folder of each seed's adapter or student, in the order of seeds.

    Raises:
        UserError: Too few seeds, the recipe or a setting `seed`, or a run that cannot start.
    """
    if count < 2:
        raise UserError(f"--seeds {count}: a spread needs at least 2", hint="--seeds 3")
    if any(o.partition("=")[0] == "seed" for o in overrides):
        raise UserError("--seeds sets `seed` itself", hint="leave out one of the two")
    base = Path(load_recipe(name, overrides).output_dir)
    finished: dict[int, FinishedSeed] = {}
    if resume is not False:
        finished = {run.seed: run for run in _read_index(base).runs}
    folders: list[Path] = []
    for seed in range(count):
        settings = [*overrides, f"seed={seed}", f"output_dir={json.dumps(str(base / _name(seed)))}"]
        recipe: Recipe = load_recipe(name, settings)
        signature = recipe.model_dump_json(exclude={"resume"})
        done = finished.get(seed)
        if done and done.recipe == signature and (base / done.folder / "metrics.json").is_file():
            sys.stderr.write(f"seed {seed}: finished before, in {base / done.folder}\n")
        else:
            sys.stderr.write(f"seed {seed} of 0 to {count - 1}\n")
            folder = start(name, settings, dry_run=dry_run, resume=resume)
            if dry_run:
                return [folder]
            done = _finished_seed(seed, base, folder, signature)
            finished[seed] = done
            _write_index(base, recipe, finished)
        folders.append(base / done.folder)
    sys.stderr.write(summary([finished[seed] for seed in range(count)], base))
    return folders


def expand_seeds(model: str) -> list[str]:
    """Return the models of a folder of seeds, or the model itself if it names no such folder.

    Args:
        model: A model as on the command line: `student:BASE`, `builtin:BASE`, or
            `BACKEND:MODEL@BASE`.
    """
    separator = ":" if model.startswith(("student:", "builtin:")) else "@"
    prefix, found, folder = model.partition(separator)
    if not found or not (Path(folder) / INDEX).is_file():
        return [model]
    runs = sorted(_read_index(Path(folder)).runs, key=lambda run: run.seed)
    return [f"{prefix}{separator}{Path(folder) / run.folder}" for run in runs] or [model]


def summary(runs: Sequence[FinishedSeed], base: Path) -> str:
    """Return the dev metrics of each seed, their mean ± sd, and the next command, as lines.

    Args:
        runs: The finished runs.
        base: Their common folder.
    """
    lines = []
    names = list(dict.fromkeys(name for run in runs for name in run.dev))
    for run in runs:
        shown = "  ".join(f"{n} {100 * run.dev[n]:.1f}%" for n in names if n in run.dev)
        lines.append(f"seed {run.seed}  {shown or 'no dev source'}  {base / run.folder}")
    if names:
        spreads = [
            f"{n} {100 * fmean(values):.1f} ± {100 * stdev(values):.1f}%"
            for n in names
            if len(values := [run.dev[n] for run in runs if n in run.dev]) > 1
        ]
        lines.append(f"mean ± sd over {len(runs)} seeds  {'  '.join(spreads)}")
    index = _read_index(base)
    model = f"student:{base}" if index.kind == "student" else f"transformers:{index.model}@{base}"
    if index.model == "builtin":
        model = f"builtin:{base}"
    lines.append(f"evaluate them: gen-msa evaluate POSTS --model {model}")
    return "".join(line + "\n" for line in lines)


def _name(seed: int) -> str:
    return f"seed-{seed}"


def _finished_seed(seed: int, base: Path, folder: Path, recipe: str) -> FinishedSeed:
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    sources = (metrics.get("dev") or {}).get("sources") or []
    dev = {
        name: fmean(values)
        for name in ("accuracy", "macro_f1", "joint_f1")
        if (values := [s[name] for s in sources if s.get(name) is not None])
    }
    return FinishedSeed(
        seed=seed, folder=folder.relative_to(base).as_posix(), recipe=recipe, dev=dev
    )


def _read_index(base: Path) -> SeedIndex:
    path = base / INDEX
    if not path.is_file():
        return SeedIndex(kind="")
    try:
        return SeedIndex.model_validate_json(path.read_bytes())
    except ValueError as e:
        raise UserError(
            f"{path} cannot be read: {e}", hint="remove it; finished seeds are then trained again"
        ) from None


def _write_index(base: Path, recipe: Recipe, finished: dict[int, FinishedSeed]) -> None:
    model = getattr(recipe, "model_name_or_path", "")
    index = SeedIndex(
        kind="adapter" if model else "student",
        model=model,
        runs=tuple(finished[seed] for seed in sorted(finished)),
    )
    with atomic_write(base / INDEX) as f:
        f.write(index.model_dump_json(indent=1).encode() + b"\n")
