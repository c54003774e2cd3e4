"""gen_msa as a contender: the run of a recipe, step by step, without judging or saving.

work(Spec("gen_msa", "ours", ("model_name_or_path=builtin", ...)), meter)
"""

from contextlib import closing

from finetuners import Meter, Spec
from gen_msa import settings
from gen_msa.backends.hf import image_inputs
from gen_msa.finetuning.loop import FinetuneRun
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.prefetch import prefetch


def work(spec: Spec, meter: Meter) -> None:
    """Laps of one epoch each until no more are wanted."""
    # The posts of a bench are few: pixels that a real run would have forgotten are not to be kept.
    image_inputs.MAX_CACHED_POSTS = 1
    recipe = settings.load(FinetuneRecipe, None, [*spec.recipe, f"num_train_epochs={spec.laps}"])
    run = FinetuneRun(recipe)
    wanted = meter.ready()
    made = (run.sampler.step_batches(step) for step in run.sampler.remaining_steps(0))
    rows, losses = 0, []
    with closing(prefetch(made, recipe.optimizations.prefetch)) as feed:
        for number, batches in enumerate(feed, start=1):
            if not wanted:
                break
            done = run.train_step.run(batches, number)
            rows += done.rows
            losses.append(done.loss)
            if number % run.sampler.epoch_steps == 0:
                wanted = meter.lap(rows, len(losses), tuple(losses))
                rows, losses = 0, []
