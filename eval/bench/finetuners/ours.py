"""gen_msa as a contender: the run of a recipe, step by step, without judging or saving.

work(Spec("gen_msa", "ours", ("model_name_or_path=builtin", ...)), meter)
"""

from contextlib import closing

from finetuners import Meter, Spec
from gen_msa import settings
from gen_msa.backends.local import pictures
from gen_msa.feeding import ahead
from gen_msa.finetuning.loop import Run
from gen_msa.finetuning.recipe import Recipe


def work(spec: Spec, meter: Meter) -> None:
    """Laps of one epoch each until no more are wanted."""
    # The posts of a bench are few: pixels that a real run would have forgotten are not to be kept.
    pictures.KEPT = 1
    recipe = settings.load(Recipe, None, [*spec.recipe, f"num_train_epochs={spec.laps}"])
    run = Run(recipe)
    wanted = meter.ready()
    made = (run.planner.batches(step) for step in run.planner.left(0))
    rows, losses = 0, []
    with closing(ahead(made, recipe.levers.prefetch)) as feed:
        for number, batches in enumerate(feed, start=1):
            if not wanted:
                break
            done = run.stepper.step(batches, number)
            rows += done.rows
            losses.append(done.loss)
            if number % run.planner.epoch_steps == 0:
                wanted = meter.lap(rows, len(losses), tuple(losses))
                rows, losses = 0, []
