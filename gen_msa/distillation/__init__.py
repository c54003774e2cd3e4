"""Distillation: labels or teachers' probabilities of posts train a compact student model.

    Example ─► rows (text, aspect, polarity) ─► batches ─► training loop ─► student folder

The student's folder holds everything that `--model student:DIR` needs.

    gen-msa distill text output_dir=students/mine
"""

from collections.abc import Sequence
from pathlib import Path

from gen_msa.distillation import recipe
from gen_msa.training.launch import require_extra, resume_override

_REQUIRED_PACKAGES = ("torch", "transformers", "safetensors", "tokenizers", "accelerate")


def start(
    name: str,
    overrides: Sequence[str] = (),
    *,
    dry_run: bool = False,
    resume: bool | None = None,
) -> Path:
    """Train a student by a recipe.

    Args:
        name: A packaged recipe, or a YAML file.
        overrides: `key=value` settings on top of it.
        dry_run: Plan, print, and try the longest batch, but write nothing.
        resume: Whether to go on from a checkpoint; None leaves it to the recipe.

    Returns:
        The student's folder.

    Raises:
        UserError: When the run cannot start; its `exit_code` is 4 for a run that diverged.
    """
    settings = recipe.load_recipe(name, [*overrides, *resume_override(resume)])
    with require_extra("train", _REQUIRED_PACKAGES):
        from gen_msa.distillation.loop import distill
    return distill(settings, dry_run=dry_run)
