"""The best adapter of a run, with all that reading it needs: settings, hashes, probe, card, seal.

Its folder is staged, sealed and renamed: the best one is there whole or not at all. Knows nothing
of steps.

    keep(folder, recipe, opened, model, prepared, judgement, step=120)
"""

from collections import Counter
from pathlib import Path
from typing import Any

from gen_msa import manifest, prompting, settings
from gen_msa.backends.local import adapters, probe, weights
from gen_msa.errors import UserError
from gen_msa.finetuning import card, sharding
from gen_msa.finetuning.adapting import precision, save_adapter, trainable
from gen_msa.finetuning.checkpoints import NOT_WRITTEN
from gen_msa.finetuning.judgement import Judgement
from gen_msa.finetuning.judging import undisturbed
from gen_msa.finetuning.opening import Opened
from gen_msa.finetuning.preparing import Prepared
from gen_msa.finetuning.recipe import Data, Recipe


def keep(
    folder: Path,
    recipe: Recipe,
    opened: Opened,
    model: Any,
    prepared: Prepared,
    judgement: Judgement | None,
    *,
    step: int,
    main: bool = True,
) -> None:
    """Write the adapter as it is now to `folder`, in place of what was there.

    The processes of a split model do so together, and only the `main` one writes. Raises
    `UserError` when the disk will not take it; what was there stays.
    """
    with undisturbed(model), precision(model, recipe):
        state = sharding.whole_state(model, main=main)
        proof = probe.record(model.eval(), opened.processor)
    if not main:
        return
    try:
        with manifest.staged(folder) as draft:
            save_adapter(model, draft, recipe.save_dtype, state)
            if recipe.finetuning_type == "full":
                # A whole model is read by itself, so its words and eyes go with it.
                opened.processor.save_pretrained(draft)
            _facts_of_reading(draft, recipe, opened, proof)
            card.write(draft, _facts(recipe, opened, model, prepared, judgement, step))
    except NOT_WRITTEN as e:
        raise UserError(
            f"the adapter {folder} cannot be written: {e}",
            mend="make room, then run again: it goes on from the last whole checkpoint",
        ) from None


def reading(recipe: Recipe) -> dict[str, Any]:
    """The reader's settings that show posts as training did: the first prompt of each task.

    Cues that name files of this run's own corpora are left to whoever reads.
    """
    tasks = {"aspect": "prompt", "aspects": "aspects_prompt", "overall": "overall_prompt"}
    found: dict[str, Any] = recipe.reading.model_dump(
        mode="json", include={"cues", "picture", "max_new_tokens", "reask_prompt"}
    )
    for data in recipe.data:
        prompt = prompting.load(data.prompt)
        if not prompt.takes_label:
            found.setdefault(tasks[prompt.task], data.prompt)
    return found


def _facts_of_reading(draft: Path, recipe: Recipe, opened: Opened, proof: probe.Probe) -> None:
    """The recipe, and what reading with the adapter needs."""
    settings.save(recipe, draft / "recipe.yaml")
    adapters.write(
        draft,
        base=recipe.model_name_or_path,
        base_sha256=weights.base_hash(opened.folder),
        processor=opened.processor,
        prompts={p: prompting.load(p).digest for d in recipe.data for p in _asked(d)},
        reading=reading(recipe),
        probe=proof,
    )


def _facts(
    recipe: Recipe,
    opened: Opened,
    model: Any,
    prepared: Prepared,
    judgement: Judgement | None,
    step: int,
) -> card.Facts:
    posts = Counter(prepared.sources)
    rows: Counter[int] = Counter()
    for source, lines in zip(prepared.sources, prepared.lines, strict=True):
        rows[source] += sum(len(line.rows) for line in lines)
    learned = [
        card.Learned(
            source=d.source,
            prompt=", ".join(prompting.load(p).identity for p in _asked(d)),
            labels=d.labels,
            reasons=d.reasons,
            posts=posts[i],
            rows=rows[i],
            left_out=_left_out(d, prepared),
        )
        for i, d in enumerate(recipe.data)
    ]
    return card.Facts(
        recipe=recipe,
        base=recipe.model_name_or_path,
        base_hash=opened.base_hash,
        learned=learned,
        figures=judgement.as_json() if judgement else None,
        step=step,
        parameters=sum(t.count for t in trainable(model)),
    )


def _asked(data: Data) -> list[str]:
    """Every prompt a source is learned with."""
    return [data.prompt, *(task.prompt for task in data.also)]


def _left_out(data: Data, prepared: Prepared) -> int:
    return sum(name.startswith(f"{data.source}/") for name, _ in prepared.refused)
