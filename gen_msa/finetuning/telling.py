"""What a run says, on the terminal and in its log; only the main process says anything.

Between the loop, which knows tensors, and `printing`, which knows plain facts. The clock stands
still while the model is judged, so that tokens/s are those of training.

    teller = Teller(recipe, folder, main=True)
    teller.start(trainable(model), prepared, steps); teller.step(progress, done, rate, steps)
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from gen_msa.finetuning import budgeting
from gen_msa.finetuning.adapting import Trained
from gen_msa.finetuning.checkpoints import Progress
from gen_msa.finetuning.facts import Opening, Step, parts
from gen_msa.finetuning.judgement import Judgement
from gen_msa.finetuning.logbook import Logbook
from gen_msa.finetuning.preparing import Prepared
from gen_msa.finetuning.printing import Printer
from gen_msa.finetuning.recipe import Recipe
from gen_msa.finetuning.stepping import Stepped


class Teller:
    """Says what a run does. `processes` is how many train together."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        main: bool = True,
        processes: int = 1,
        console: Console | None = None,
    ) -> None:
        self._recipe = recipe
        self._main = main
        self._processes = processes
        self._printer = Printer(console or Console(stderr=True, quiet=not main))
        self._book = Logbook(folder, recipe)
        self._rows = 1.0
        self._since: list[Stepped] = []
        self._began = self._mark = time.perf_counter()
        self._spent = 0.0

    def start(
        self,
        trained: Iterable[Trained],
        prepared: Prepared,
        steps: int,
        *,
        parameters: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        """What is trained, on what; `parameters` counts the whole model."""
        self._rows = budgeting.rows_of_an_epoch(prepared, self._recipe)
        if not self._main:
            return
        apart = f"the aspects of a post are read separately: {prepared.separate}"
        self._printer.opening(
            Opening(
                # The last name: a path would say more of the machine than of the run.
                model=Path(self._recipe.model_name_or_path).name,
                parameters=parameters,
                parts=parts((t.kind, t.count) for t in trained),
                shown=budgeting.shown(prepared),
                budget=budgeting.budget(prepared, self._recipe),
                notes=[*notes, *([apart] if prepared.separate else [])],
            )
        )

    def probed(self, done: Stepped, seconds: float, prepared: Prepared, steps: int) -> None:
        """How long it will take, from `seconds` for the tokens of the longest batch."""
        r, posts = self._recipe, len(prepared.lines)
        mean = sum(len(line.ids) for lines in prepared.lines for line in lines) / posts
        size = r.per_device_train_batch_size * r.gradient_accumulation_steps * self._processes
        tokens = mean * size * steps
        if r.max_steps <= 0:
            tokens = budgeting.tokens_of_an_epoch(prepared, r) * r.num_train_epochs
        self._printer.planned(steps, tokens * seconds / max(done.tokens, 1))
        self._mark = time.perf_counter()

    def resumed(
        self,
        found: Path | None,
        passed: Iterable[str],
        step: int = 0,
        *,
        changed: Sequence[str] = (),
        replaced: Sequence[str] = (),
    ) -> None:
        """Which checkpoint is gone on from, with which settings changed, and which are not.

        `passed` cannot be gone on from; in place of `replaced` the run is begun anew.
        """
        for why in passed:
            self._printer.note(f"passed over {why}")
        if replaced:
            self._printer.note(f"begins anew; its first checkpoint replaces {', '.join(replaced)}")
        if found is not None:
            self._printer.note(f"going on from {found.name}")
            for one in changed:
                self._printer.note(one)
            step = step or int(found.name.rpartition("-")[2])
        if self._main:
            self._book.resume(step)
        self._mark = time.perf_counter()

    def step(self, progress: Progress, done: Stepped, rate: float, steps: int) -> None:
        """Called after every step; says something after each `logging_steps`, and at the last."""
        if not self._main:
            return
        now = time.perf_counter()
        self._spent += now - self._mark
        self._mark = now
        self._since.append(done)
        if progress.step % self._recipe.logging_steps and progress.step < steps:
            return
        told = self._told(progress, rate, steps)
        self._printer.step(told)
        self._book.write(
            {
                "step": told.step,
                "epoch": told.epoch,
                "loss": told.loss,
                **{f"loss_{name}": value for name, value in told.fields.items()},
                "tokens_per_second": told.tokens_per_second,
                "learning_rate": told.learning_rate,
                "grad_norm": told.grad_norm,
            }
        )
        self._since, self._spent = [], 0.0

    def judged(self, judgement: Judgement, *, samples: bool = False) -> None:
        """The figures of the dev sources; with `samples` twenty answers beside what gold says."""
        if self._main:
            told = judgement.as_json()
            self._printer.figures(told)
            if samples:
                self._printer.samples(judgement)
            self._book.write({"step": judgement.step, "dev": told}, judgement.flat())
        self._mark = time.perf_counter()

    def stopped_early(self, progress: Progress) -> None:
        """That it did not get better any more."""
        since = f"{progress.worse} judgements without a better dev score"
        self._printer.note(f"stopped at step {progress.step:,}: {since}")

    def end(self, progress: Progress, adapter: Path) -> None:
        """The figures of what was kept, and where it lies."""
        kept = next((h for h in progress.history if h["step"] == progress.best_step), None)
        seconds = time.perf_counter() - self._began
        self._printer.closing(kept, steps=progress.step, seconds=seconds, folder=str(adapter))
        self._book.close()

    def _told(self, progress: Progress, rate: float, steps: int) -> Step:
        some = self._since
        found: dict[str, list[float]] = {}
        for done in some:
            for name, value in done.by_field.items():
                found.setdefault(name, []).append(value)
        return Step(
            step=progress.step,
            steps=steps,
            epoch=progress.rows / self._rows,
            loss=sum(d.loss for d in some) / len(some),
            fields={name: sum(values) / len(values) for name, values in found.items()},
            tokens_per_second=sum(d.tokens for d in some) / max(self._spent, 1e-9),
            learning_rate=rate,
            grad_norm=sum(d.norm for d in some) / len(some),
        )
