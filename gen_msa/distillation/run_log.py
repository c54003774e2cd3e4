"""What a run says, on the terminal and in `log.jsonl`, one JSON object a line.

Times are on the terminal alone. Knows nothing of tensors.

    teller = Teller(folder, steps=400); teller.step(20, epoch=0.2, loss=0.9, rate=5e-5, rows=640)
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from gen_msa import jsonl
from gen_msa.distillation.dataset import DistillDataset
from gen_msa.distillation.recipe import DistillRecipe


class StudentRunLogger:
    """Says what a run does. The log begins anew with the first line that is written."""

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        self._path = folder / "log.jsonl"
        self._console = console or Console(stderr=True)
        self._mode = "w"
        self._last_time = time.perf_counter()

    def log_start(
        self,
        recipe: DistillRecipe,
        sources: Sequence[DistillDataset],
        *,
        num_params: int,
        pretrained_from: str,
    ) -> None:
        """What is trained, from what, and on which rows."""
        start_weights = pretrained_from or "new weights"
        self._print_line(
            f"student {recipe.student}: {num_params:,} numbers, begun with {start_weights}"
        )
        for dataset in sources:
            left_out = "; ".join(f"{n:,} {reason}" for reason, n in dataset.left_out.items())
            self._print_line(
                f"{dataset.source}: {len(dataset.rows):,} rows by {dataset.labels}"
                + (f"; left out: {left_out}" * bool(left_out))
            )

    def log_plan(self, steps: int, truncated: int, probe: float) -> None:
        """How much there is to do; `probe` is the loss of the longest batch before training."""
        truncation_note = f", {truncated:,} rows too long to be seen whole" if truncated else ""
        self._print_line(f"{steps:,} steps{truncation_note}; loss at the start {probe:.4f}")
        self._last_time = time.perf_counter()

    def replacing(self, checkpoint: Path) -> None:
        """That the run begins anew in place of one that was stopped, if there is one."""
        if checkpoint.exists():
            self._print_line(f"note: begins anew; its first checkpoint replaces {checkpoint}")

    def log_resume(self, step: int, changed: Sequence[str] = ()) -> None:
        """What was logged after `step` is taken back; from step 0 the log begins anew.

        `changed`: settings that are not as they were in the run that was stopped.
        """
        if not step:
            return
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept_lines = [line for line in lines if json.loads(line)["step"] <= step]
        with jsonl.atomic_write(self._path) as file:
            file.writelines(line.encode() + b"\n" for line in kept_lines)
        self._mode = "a"
        self._print_line(f"going on after step {step:,}")
        for difference in changed:
            self._print_line(f"note: {difference}")

    def log_step(
        self, step: int, *, epoch: float, loss: float, learning_rate: float, rows: int
    ) -> None:
        """One logged step; `loss` is the mean since the last one, `rows` those learned since."""
        now = time.perf_counter()
        speed = rows / (now - self._last_time)
        self._print_line(
            f"step {step:,}  epoch {epoch:.2f}  loss {loss:.4f}  {speed:.0f} rows/s  lr {learning_rate:.2e}"
        )
        self._write({"step": step, "epoch": epoch, "loss": loss, "learning_rate": learning_rate})
        self._last_time = time.perf_counter()

    def log_validation(self, step: int, metrics: Mapping[str, Any], *, best: bool) -> None:
        """The figures of every dev source."""
        for s in metrics["sources"]:
            low, high = (100 * x for x in s["accuracy_95"])
            line = (
                f"dev {s['source']}  n {s['n']:,}  accuracy {100 * s['accuracy']:.1f} "
                f"[{low:.1f}, {high:.1f}]  macro-F1 {100 * s['macro_f1']:.1f}"
            )
            self._print_line(line + ("  best so far" if best else ""), style="bold")
        self._write({"step": step, "dev": metrics})
        self._last_time = time.perf_counter()

    def log_end(self, folder: Path, step: int) -> None:
        """Where the student lies."""
        self._print_line(f"kept that of step {step:,}: {folder}")
        self._print_line(f"read with it: gen-msa explain POSTS --model student:{folder}")

    def _print_line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _write(self, record: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open(self._mode, encoding="utf-8") as f:
            f.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._mode = "a"


class NullRunLogger(StudentRunLogger):
    """Says and writes nothing: of several processes one speaks."""

    def log_resume(self, step: int, changed: Sequence[str] = ()) -> None:
        """Leave the log to the one that speaks."""

    def _print_line(self, text: str, style: str = "") -> None:
        pass

    def _write(self, record: Mapping[str, Any]) -> None:
        pass
