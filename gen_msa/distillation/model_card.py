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
from gen_msa.distillation.dataset import DistillDataset
from gen_msa.distillation.recipe import DistillRecipe

_TEMPLATE = Path(__file__).with_suffix(".jinja")
_FOLDER_PREFIX = re.compile(r"[^:\s]*[/\\]")


@dataclass(frozen=True)
class StudentCard:
    """What a card is made of."""

    recipe: DistillRecipe
    train_sets: Sequence[DistillDataset]
    metrics: Mapping[str, Any] | None
    """`judging.judge` of the student that is kept; None without a dev source."""
    step: int
    num_params: int
    pretrained_from: str
    """The package of weights it began with; "" for none."""


def write_card(folder: Path, card: StudentCard) -> None:
    """Write the three files into `folder`. Raises `OSError` when the disk will not take them."""
    metrics = card_metrics(card)
    recipe = _without_paths(card.recipe.model_dump(mode="json", exclude={"resume"}))
    for name, text in {
        "recipe.yaml": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
        "metrics.json": json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "README.md": _render_card(metrics, recipe),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


def card_metrics(card: StudentCard) -> dict[str, Any]:
    """Every figure with n, interval, seed and data hash."""
    train_sources = [
        {
            "source": dataset.source,
            "labels": dataset.labels,
            "rows": len(dataset.rows),
            "left_out": dict(dataset.left_out),
            "data_sha256": dataset.sha256,
        }
        for dataset in card.train_sets
    ]
    metrics = {
        "gen_msa": __version__,
        "student": card.recipe.student,
        "parameters": card.num_params,
        "pretrained_from": card.pretrained_from,
        "seed": card.recipe.seed,
        "step": card.step,
        "train_data": train_sources,
        "dev": card.metrics and dict(card.metrics),
    }
    return dict(_without_paths(metrics))


def _render_card(metrics: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
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
    return template.render(**metrics, name=recipe["output_dir"], recipe=recipe, settings=settings)


def _without_paths(tree: Any) -> Any:
    """The same without any folder: `DATASET:SPLIT` as it is, of a path only its last part."""
    if isinstance(tree, dict):
        return {
            k: _FOLDER_PREFIX.sub("", v.rstrip("/\\"))
            if k in ("source", "output_dir", "labels") and isinstance(v, str)
            else _without_paths(v)
            for k, v in tree.items()
        }
    return [_without_paths(v) for v in tree] if isinstance(tree, list | tuple) else tree
