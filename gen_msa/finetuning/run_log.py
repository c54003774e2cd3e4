"""Reports a run on the terminal and in its log; only the main process writes anything.

`RunLogger` turns tensors and batches into the plain values that `console` prints and
`training.run_log` stores. The clock stands still during validation, so that tokens/s are those of
training.

    logger = RunLogger(recipe, folder, is_main=True)
    logger.log_start(trainable_params(model), prepared, steps)
    logger.log_step(state, result, learning_rate, steps)
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from gen_msa.finetuning import batches
from gen_msa.finetuning.console import (
    ConsoleReporter,
    EpochStats,
    RunHeader,
    StepLog,
    TokenPreview,
    count_params_by_kind,
)
from gen_msa.finetuning.peft_model import TrainableParam
from gen_msa.finetuning.prepare import PreparedRun
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.tokenization import TokenizedExample
from gen_msa.finetuning.train_step import StepResult
from gen_msa.finetuning.validation import ValidationResult
from gen_msa.training.checkpoint import TrainState
from gen_msa.training.run_log import BaseRunLogger

PREVIEW_POSTS = 50
"""Posts among which the previewed row is chosen: the shortest one with a complete answer."""


def epoch_stats(prepared: PreparedRun, recipe: FinetuneRecipe) -> EpochStats:
    """Return what one epoch costs: posts, rows, tokens, padding.

    Args:
        prepared: The tokenized training data.
        recipe: Batch size and bucketing, for the padding share.
    """
    sequences = [sequence for post in prepared.sequences for sequence in post]
    rows = [row for sequence in sequences for row in sequence.rows]
    tokens = sum(len(sequence.ids) for sequence in sequences)
    placeholder_ids = prepared.example_tokenizer.expander.placeholders
    return EpochStats(
        posts=len(prepared.sequences),
        rows=len(rows),
        tokens=tokens,
        longest=max(prepared.lengths),
        median=int(median(prepared.lengths)),
        max_length=prepared.example_tokenizer.max_length,
        image_tokens=sum(
            token in placeholder_ids for sequence in sequences for token in sequence.ids
        ),
        padding_share=_padding_share(prepared, recipe),
        saved_share=1 - tokens / sum(len(row.ids) for row in rows),
        without_rationale=prepared.without_rationale,
        left_out=tuple(prepared.skipped),
    )


def tokens_per_epoch(prepared: PreparedRun, recipe: FinetuneRecipe) -> float:
    """Return the tokens of an epoch, each source counted with its weight.

    Args:
        prepared: Sequences of each post, and its source.
        recipe: Weights of the sources.
    """
    return sum(
        recipe.data[s].weight * len(sequence.ids)
        for s, sequences in zip(prepared.sources, prepared.sequences, strict=True)
        for sequence in sequences
    )


def rows_per_epoch(prepared: PreparedRun, recipe: FinetuneRecipe) -> float:
    """Return the rows of an epoch, each source counted with its weight.

    Args:
        prepared: Sequences of each post, and its source.
        recipe: Weights of the sources.
    """
    return sum(
        recipe.data[s].weight * len(sequence.rows)
        for s, sequences in zip(prepared.sources, prepared.sequences, strict=True)
        for sequence in sequences
    )


def token_preview(prepared: PreparedRun) -> TokenPreview:
    """Return a short row with a complete answer, token by token."""
    rows = [
        r for post in prepared.sequences[:PREVIEW_POSTS] for sequence in post for r in sequence.rows
    ]
    complete = [r for r in rows if r.example.target.complete] or rows
    row = min(complete, key=lambda r: len(r.ids))
    weights = prepared.loss_weights.token_weights(row, prepared.loss_weights.step_totals([row]))
    prompt_length = row.prompt_length
    return TokenPreview(
        name=row.example.name,
        tokens=token_texts(row, prepared.example_tokenizer.chat_tokenizer.tokenizer),
        fields=[*[None] * prompt_length, *row.fields],
        weights=[*[0.0] * prompt_length, *weights],
    )


def token_texts(row: TokenizedExample, tokenizer: Any) -> list[str]:
    """Return the text of each token; a character of several tokens is given at its last one.

    Args:
        row: The tokenized row.
        tokenizer: The tokenizer that made it.
    """
    texts: list[str] = []
    start, decoded = 0, ""
    for i in range(len(row.ids)):
        text = _decode(tokenizer, row.ids[start : i + 1])
        is_complete = not text.endswith("\ufffd")
        texts.append(text[len(decoded) :] if is_complete else "")
        if is_complete:
            # One token is kept as context: some tokenizers drop a blank at the very beginning.
            start, decoded = i, _decode(tokenizer, row.ids[i : i + 1])
    return texts


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _padding_share(prepared: PreparedRun, recipe: FinetuneRecipe) -> float:
    """Return the share of padding in the batches of the first epoch, for one process."""
    capacity = used = 0
    for step in batches.epoch_steps(prepared.lengths, prepared.sources, recipe, 0):
        for part in batches.rank_batches(step, recipe, 0, 1):
            lengths = [len(sequence.ids) for post in part for sequence in prepared.sequences[post]]
            width = -(-max(lengths, default=0) // batches.PAD_MULTIPLE) * batches.PAD_MULTIPLE
            capacity += len(lengths) * width
            used += sum(lengths)
    return 1 - used / capacity if capacity else 0.0


class RunLogger(BaseRunLogger):
    """Logs a run to the terminal, `log.jsonl` and the trackers of the recipe.

    Args:
        recipe: The recipe of the run.
        folder: The output folder, for `log.jsonl`.
        is_main: Whether this process writes; the others stay silent.
        processes: How many processes train together.
        console: Where to print; stderr by default.
    """

    def __init__(
        self,
        recipe: FinetuneRecipe,
        folder: Path,
        *,
        is_main: bool = True,
        processes: int = 1,
        console: Console | None = None,
    ) -> None:
        config = recipe.model_dump(mode="json")
        super().__init__(folder, is_main=is_main, report_to=recipe.report_to, config=config)
        self._recipe = recipe
        self._processes = processes
        self._reporter = ConsoleReporter(console or Console(stderr=True, quiet=not is_main))
        self._rows_per_epoch = 1.0
        self._recent: list[StepResult] = []
        self._started_at = self._last_time
        self._train_seconds = 0.0

    def log_start(
        self,
        params: Iterable[TrainableParam],
        prepared: PreparedRun,
        steps: int,
        *,
        total_params: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        """Print what is trained, and on what.

        Args:
            params: The trained tensors.
            prepared: The tokenized training data.
            steps: Optimiser steps of the run.
            total_params: Parameters of the whole model.
            notes: Lines to print below the statistics.
        """
        self._rows_per_epoch = rows_per_epoch(prepared, self._recipe)
        if not self._is_main:
            return
        packing_note = f"the aspects of a post are not packed: {prepared.unpacked_reason}"
        self._reporter.print_header(
            RunHeader(
                # The last part: a path describes the machine rather than the run.
                model=Path(self._recipe.model_name_or_path).name,
                total_params=total_params,
                param_groups=count_params_by_kind((t.kind, t.numel) for t in params),
                preview=token_preview(prepared),
                stats=epoch_stats(prepared, self._recipe),
                notes=[
                    *([self._recipe.caveat] if self._recipe.caveat else []),
                    *notes,
                    *([packing_note] if prepared.unpacked_reason else []),
                ],
            )
        )

    def log_probe(
        self, result: StepResult, seconds: float, prepared: PreparedRun, steps: int
    ) -> None:
        """Print how long training will take.

        Args:
            result: The probe step over the longest batch.
            seconds: Its duration.
            prepared: The tokenized training data.
            steps: Optimiser steps of the run.
        """
        recipe, posts = self._recipe, len(prepared.sequences)
        mean_tokens = (
            sum(len(sequence.ids) for sequences in prepared.sequences for sequence in sequences)
            / posts
        )
        size = (
            recipe.per_device_train_batch_size
            * recipe.gradient_accumulation_steps
            * self._processes
        )
        tokens = mean_tokens * size * steps
        if recipe.max_steps <= 0:
            tokens = tokens_per_epoch(prepared, recipe) * recipe.num_train_epochs
        self._reporter.print_plan(steps, tokens * seconds / max(result.tokens, 1))
        self._last_time = time.perf_counter()

    def log_resume(
        self,
        checkpoint: Path | None,
        skipped: Sequence[str],
        step: int = 0,
        *,
        changed: Sequence[str] = (),
        replaced: Sequence[str] = (),
    ) -> None:
        """Print which checkpoint is resumed, and which settings differ.

        Args:
            checkpoint: The checkpoint, or None for a new run.
            skipped: Checkpoints that cannot be resumed, each with its reason.
            step: Optimiser steps done; taken from the checkpoint's name by default.
            changed: Settings that differ from those of the checkpoint.
            replaced: Checkpoints that the new run will replace.
        """
        if checkpoint is not None:
            step = step or int(checkpoint.name.rpartition("-")[2])
        self._log_resume(
            self._reporter, checkpoint, step, skipped=skipped, changed=changed, replaced=replaced
        )

    def log_step(
        self, state: TrainState, result: StepResult, learning_rate: float, steps: int
    ) -> None:
        """Record one step; print and store the mean of every `logging_steps` of them, and the last.

        Args:
            state: Progress after the step.
            result: The step.
            learning_rate: The current learning rate.
            steps: Optimiser steps of the run.
        """
        if not self._is_main:
            return
        now = time.perf_counter()
        self._train_seconds += now - self._last_time
        self._last_time = now
        self._recent.append(result)
        if state.step % self._recipe.logging_steps and state.step < steps:
            return
        entry = self._mean_metrics(state, learning_rate, steps)
        self._reporter.print_step(entry)
        self._tracker_log.write(
            {
                "step": entry.step,
                "epoch": entry.epoch,
                "loss": entry.loss,
                **{f"loss_{name}": value for name, value in entry.fields.items()},
                "tokens_per_second": entry.tokens_per_second,
                "learning_rate": entry.learning_rate,
                "grad_norm": entry.grad_norm,
            }
        )
        self._recent, self._train_seconds = [], 0.0

    def log_validation(self, result: ValidationResult, *, samples: bool = False) -> None:
        """Print and store the metrics of the dev sources; only the main process does.

        Args:
            result: Metrics of all dev sources at one step.
            samples: Whether to print `result.samples` too.
        """
        if self._is_main:
            metrics = result.as_json()
            self._reporter.print_metrics(metrics)
            if samples:
                self._reporter.print_samples(result)
            self._tracker_log.write({"step": result.step, "dev": metrics}, result.tracker_metrics())
        self._last_time = time.perf_counter()

    def log_early_stop(self, state: TrainState) -> None:
        """Print that training stops because the dev score no longer improves."""
        message = f"{state.evals_since_best} evaluations without a better dev score"
        self._reporter.print_note(f"stopped at step {state.step:,}: {message}")

    def log_end(self, state: TrainState, adapter: Path) -> None:
        """Print the metrics of the best adapter and its folder, and close the log.

        Args:
            state: Progress of the run, with all its validations.
            adapter: Folder of the best adapter.
        """
        best = next((h for h in state.history if h["step"] == state.best_step), None)
        seconds = time.perf_counter() - self._started_at
        self._reporter.print_summary(best, steps=state.step, seconds=seconds, folder=str(adapter))
        if self._recipe.caveat:
            self._reporter.print_note(self._recipe.caveat)
        self._tracker_log.close()

    def log_unused(self, unused: Mapping[str, int]) -> None:
        """Print what of the training data was not used; the last line of a run."""
        self._reporter.print_unused(unused)

    def _mean_metrics(self, state: TrainState, learning_rate: float, steps: int) -> StepLog:
        recent = self._recent
        by_field: dict[str, list[float]] = {}
        for result in recent:
            for name, value in result.by_field.items():
                by_field.setdefault(name, []).append(value)
        return StepLog(
            step=state.step,
            steps=steps,
            epoch=state.rows / self._rows_per_epoch,
            loss=sum(d.loss for d in recent) / len(recent),
            fields={name: sum(values) / len(values) for name, values in by_field.items()},
            tokens_per_second=sum(d.tokens for d in recent) / max(self._train_seconds, 1e-9),
            learning_rate=learning_rate,
            grad_norm=sum(d.grad_norm for d in recent) / len(recent),
        )
