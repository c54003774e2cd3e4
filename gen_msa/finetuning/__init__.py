"""Fine-tuning: labelled posts, with rationales, become a LoRA adapter of a multimodal LLM.

    examples ─► rows (request, target) ─► tokens ─► packed sequences ─► batches ─► loop ─► adapter

The adapter folder holds everything that inference needs.

    gen-msa finetune tiny_cpu output_dir=adapters/tiny
"""

from collections.abc import Sequence
from pathlib import Path

from gen_msa.finetuning import recipe
from gen_msa.training.launch import require_extra, resume_override

_REQUIRED_PACKAGES = ("torch", "transformers", "accelerate", "peft")


def start(
    name: str,
    overrides: Sequence[str] = (),
    *,
    dry_run: bool = False,
    resume: bool | None = None,
) -> Path:
    """Fine-tune by a recipe and return the folder of the adapter.

    Args:
        name: A recipe name, or the path of a YAML file.
        overrides: Recipe settings, each as `key=value`.
        dry_run: Plan, print and probe one step of the longest batch; write nothing.
        resume: Whether to resume from a checkpoint; None leaves it to the recipe.

    Returns:
        `adapter` in the recipe's `output_dir`; it is not written in a dry run.

    Raises:
        UserError: If the run cannot start or diverges; `exit_code` is 4 for a run that diverged.
    """
    settings = recipe.load_recipe(name, [*overrides, *resume_override(resume)])
    with require_extra("train", _REQUIRED_PACKAGES):
        from gen_msa.finetuning.loop import finetune
    return finetune(settings, dry_run=dry_run)
