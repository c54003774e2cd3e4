"""What the training of a student prints, and writes to `log.jsonl`.

Only the main process prints and writes.

    logger = StudentRunLogger(Path("students/text"))
    logger.log_step(20, epoch=0.2, loss=0.9, learning_rate=5e-5, rows=640)
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from gen_msa.distillation.dataset import DistillDataset
from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.report.style import printable
from gen_msa.training.run_log import BaseRunLogger, LinePrinter, accuracy_parts


class StudentConsole(LinePrinter):
    """Prints the training of a student."""

    def print_text(self, text: str, *, bold: bool = False) -> None:
        """Print one line.

        Args:
            text: Plain text; control characters are replaced.
            bold: Whether to print it in bold.
        """
        self._print_line(Text(printable(text), style="bold" if bold else ""))


class StudentRunLogger(BaseRunLogger):
    """Logs the training of a student."""

    def __init__(
        self, folder: Path, *, is_main: bool = True, console: Console | None = None
    ) -> None:
        """Prepare the log; nothing is written yet.

        Args:
            folder: The output folder.
            is_main: Whether this process prints and writes.
            console: Where to print; None for stderr.
        """
        super().__init__(folder, is_main=is_main)
        self._printer = StudentConsole(console or Console(stderr=True, quiet=not is_main))

    def log_start(
        self,
        recipe: DistillRecipe,
        sources: Sequence[DistillDataset],
        *,
        num_params: int,
        pretrained_from: str,
    ) -> None:
        """Print what is trained, from which weights, and on which rows.

        Args:
            recipe: The recipe of the run.
            sources: Training and dev rows.
            num_params: Parameters of the student.
            pretrained_from: The package of its initial weights; "" for new ones.
        """
        weights = pretrained_from or "new weights"
        self._printer.print_text(
            f"student {recipe.student}: {num_params:,} parameters, initialised from {weights}"
        )
        for dataset in sources:
            left_out = "; ".join(f"{reason}: {n:,}" for reason, n in dataset.left_out.items())
            self._printer.print_text(
                f"{dataset.source}: {len(dataset.rows):,} rows by {dataset.labels or 'teachers'}"
                + (f"; left out: {left_out}" * bool(left_out))
            )

    def log_plan(self, steps: int, truncated: int, probe_loss: float) -> None:
        """Print how much there is to do.

        Args:
            steps: Optimiser steps of the run.
            truncated: Rows whose text is longer than `max_length`.
            probe_loss: The loss of the longest batch before training.
        """
        note = f", {truncated:,} rows too long, read in part" if truncated else ""
        self._printer.print_text(f"{steps:,} steps{note}; loss at the start {probe_loss:.4f}")
        self._last_time = time.perf_counter()

    def log_resume(
        self,
        checkpoint: Path | None,
        step: int = 0,
        *,
        changed: Sequence[str] = (),
        replaced: Sequence[str] = (),
    ) -> None:
        """Print what the run resumes from, and drop the lines of the log after it.

        Args:
            checkpoint: The checkpoint that the run resumes from; None to start at step 0.
            step: Its step.
            changed: Settings that differ from those of the checkpoint.
            replaced: Checkpoints that a run which starts over will replace.
        """
        self._log_resume(self._printer, checkpoint, step, changed=changed, replaced=replaced)

    def log_step(
        self, step: int, *, epoch: float, loss: float, learning_rate: float, rows: int
    ) -> None:
        """Print and write one logged step.

        Args:
            step: Optimiser steps done.
            epoch: Epochs done, with their fraction.
            loss: Mean since the last logged step.
            learning_rate: That of the step.
            rows: Rows trained on since the last logged step.
        """
        rows_per_second = rows / (time.perf_counter() - self._last_time)
        self._printer.print_text(
            f"step {step:,}  epoch {epoch:.2f}  loss {loss:.4f}  {rows_per_second:.0f} rows/s"
            f"  lr {learning_rate:.2e}"
        )
        self._write({"step": step, "epoch": epoch, "loss": loss, "learning_rate": learning_rate})

    def log_validation(self, step: int, metrics: Mapping[str, Any], *, best: bool) -> None:
        """Print and write the metrics of every dev source.

        Args:
            step: Optimiser steps done.
            metrics: What `loop.validate` returned.
            best: Whether they are the best so far.
        """
        for source in metrics["sources"]:
            parts = [f"dev {source['source']}", f"n {source['n']:,}", *accuracy_parts(source)]
            line = "  ".join([*parts, *(["best so far"] if best else [])])
            self._printer.print_text(line, bold=True)
        self._write({"step": step, "dev": metrics})

    def log_end(self, folder: Path, step: int) -> None:
        """Print where the student is, and how to use it.

        Args:
            folder: The student's folder.
            step: The step of the best student.
        """
        self._printer.print_text(f"best student, of step {step:,}: {folder}")
        self._printer.print_text(f"use it: gen-msa explain POSTS --model student:{folder}")

    def log_unused(self, unused: Mapping[str, int]) -> None:
        """Print what of the training data was not used; the last line of a run."""
        self._printer.print_unused(unused)

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._is_main:
            self._tracker_log.write(record)
        self._last_time = time.perf_counter()
