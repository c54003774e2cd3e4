"""The files that stand beside a student's weights: recipe.yaml, figures.json, README.md.

Holds no folder of this machine, no time and no word of a post: the same run gives the same bytes.
The card's words stand in `card.jinja`.

    write(draft, Facts(recipe, learned, judged, step=300, parameters=22_000_000, warm="…"))
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from gen_msa import __version__
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.rows import Gathered

_TEMPLATE = Path(__file__).with_suffix(".jinja")
_FOLDERS = re.compile(r"[^:\s]*[/\\]")


@dataclass(frozen=True)
class Facts:
    """What a card is made of."""

    recipe: Recipe
    learned: Sequence[Gathered]
    judged: Mapping[str, Any] | None
    """`judging.judge` of the student that is kept; None without a dev source."""
    step: int
    parameters: int
    warm: str
    """The package of weights it began with; "" for none."""


def write(folder: Path, facts: Facts) -> None:
    """Write the three files into `folder`. Raises `OSError` when the disk will not take them."""
    told = figures(facts)
    recipe = _public(facts.recipe.model_dump(mode="json", exclude={"resume"}))
    for name, text in {
        "recipe.yaml": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
        "figures.json": json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "README.md": _card(told, recipe),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


def figures(facts: Facts) -> dict[str, Any]:
    """Every figure with n, interval, seed and data hash."""
    learned = [
        {
            "source": g.source,
            "labels": g.labels,
            "rows": len(g.rows),
            "left_out": dict(g.left_out),
            "data_sha256": g.sha256,
        }
        for g in facts.learned
    ]
    told = {
        "gen_msa": __version__,
        "student": facts.recipe.student,
        "parameters": facts.parameters,
        "began_with": facts.warm,
        "seed": facts.recipe.seed,
        "step": facts.step,
        "learned": learned,
        "dev": facts.judged and dict(facts.judged),
    }
    return dict(_public(told))


def _card(told: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    env = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, and no word of a post
    )
    env.filters["percent"] = lambda share: f"{100 * share:.1f}"
    env.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    settings = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    template = env.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(**told, name=recipe["output_dir"], recipe=recipe, settings=settings)


def _public(tree: Any) -> Any:
    """The same without any folder: `DATASET:SPLIT` as it is, of a path only its last part."""
    if isinstance(tree, dict):
        return {
            k: _FOLDERS.sub("", v.rstrip("/\\"))
            if k in ("source", "output_dir", "labels") and isinstance(v, str)
            else _public(v)
            for k, v in tree.items()
        }
    return [_public(v) for v in tree] if isinstance(tree, list | tuple) else tree
