"""gen_msa as a contender: the run of a recipe, step by step, without validation or checkpoints.

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
    """Run laps of one epoch each until no more are wanted."""
    # A benchmark has few posts: pixels that a real run would have evicted must not stay cached.
    image_inputs.MAX_CACHED_POSTS = 1
    recipe = settings.load(FinetuneRecipe, None, [*spec.recipe, f"num_train_epochs={spec.laps}"])
    run = FinetuneRun(recipe)
    continue_running = meter.ready()
    batch_lists = (run.sampler.step_batches(posts) for posts in run.sampler.remaining_steps(0))
    rows, losses = 0, []
    with closing(prefetch(batch_lists, recipe.optimizations.prefetch)) as prefetched:
        for step, batches in enumerate(prefetched, start=1):
            if not continue_running:
                break
            result = run.train_step.run(batches, step)
            rows += result.rows
            losses.append(result.loss)
            if step % run.sampler.epoch_steps == 0:
                continue_running = meter.lap(rows, len(losses), tuple(losses))
                rows, losses = 0, []
