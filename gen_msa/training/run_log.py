"""What a training run prints and logs: console lines, `log.jsonl`, and the trackers of `report_to`.

The log has one JSON object a line: logged steps and validations, each with its `step`. Times are
on the console only. `BaseRunLogger` is what both loops share; only the main process prints and
writes.

    log = TrackerLog(Path("adapters/tiny")); log.write({"step": 10, "loss": 0.7})
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from gen_msa import jsonl
from gen_msa.errors import UserError, did_you_mean, write_errors
from gen_msa.report.style import printable, unused_line

_PACKAGES = {"comet_ml": "comet-ml"}
"""Tracker -> its package, where the names differ."""


class TrackerLog:
    """Appends to `log.jsonl` and informs the trackers; both start with the first line."""

    def __init__(
        self,
        folder: Path,
        report_to: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare the log of a run; nothing is written yet.

        Args:
            folder: The output folder.
            report_to: Names of trackers that accelerate knows.
            config: The recipe as plain JSON, which each tracker gets when it starts.

        Raises:
            UserError: For a tracker that is unknown or not installed.
        """
        self.path = folder / "log.jsonl"
        self._report_to = tuple(report_to)
        self._config = dict(config or {})
        self._trackers: list[Any] | None = None
        check_trackers(self._report_to)

    def resume(self, step: int) -> None:
        """Drop the lines after `step`, and a line that was cut by a crash."""
        if not self.path.is_file():
            return
        content = b""
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n") and _step_of(line) <= step:
                content += line
        self._guard_write(lambda: _replace(self.path, content))

    def write(
        self, record: Mapping[str, Any], tracked_metrics: Mapping[str, float] | None = None
    ) -> None:
        """Append one line and inform the trackers.

        Args:
            record: Plain JSON with a `step`; numbers that are not finite are written by name.
            tracked_metrics: What the trackers get; None for all numbers of `record`.

        Raises:
            UserError: When the line cannot be written; the log keeps its complete lines.
        """
        line = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        self._guard_write(lambda: _append(self.path, line))
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float) and k != "step"}
        for tracker in self._get_trackers():
            tracker.log(
                dict(numbers if tracked_metrics is None else tracked_metrics),
                step=int(record["step"]),
            )

    def close(self) -> None:
        """Let the trackers finish."""
        for tracker in self._trackers or ():
            tracker.finish()
        self._trackers = []

    def _get_trackers(self) -> list[Any]:
        if self._trackers is None:
            self._trackers = start_trackers(self._report_to, self._config, self.path.parent)
        return self._trackers

    def _guard_write(self, operation: Callable[[], None]) -> None:
        hint = "choose another output_dir; the last checkpoint is complete"
        with write_errors(self.path, hint=hint):
            operation()


def check_trackers(names: Sequence[str]) -> None:
    """Check that every tracker is known to accelerate and installed.

    Raises:
        UserError: For the first one that is not.
    """
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    installed = {str(t) for t in get_available_trackers()}
    built_in = {str(t) for t in LoggerType} - {"all"}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            hint = did_you_mean(name, LOGGER_TYPE_TO_CLASS)
            raise UserError(f"report_to: no tracker is called {name!r}", hint=hint)
        if name in built_in - installed:
            package = _PACKAGES.get(name, name)
            raise UserError(
                f"report_to names {name}, which is not installed", hint=f"pip install {package}"
            )


def start_trackers(names: Sequence[str], config: Mapping[str, Any], folder: Path) -> list[Any]:
    """Start trackers and give each the recipe; accelerate's state must exist.

    Args:
        names: Trackers that passed `check_trackers`.
        config: The recipe as plain JSON.
        folder: Where a tracker that writes files puts them.

    Returns:
        One tracker of accelerate for each name, in order.
    """
    if not names:
        return []
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    trackers = []
    for name in names:
        tracker_class = LOGGER_TYPE_TO_CLASS[name]
        options = {"logging_dir": str(folder)} if tracker_class.requires_logging_directory else {}
        tracker = tracker_class("gen_msa", **options)
        tracker.start()
        tracker.store_init_configuration(flatten_settings(config))
        trackers.append(tracker)
    return trackers


def flatten_settings(
    tree: Mapping[str, Any], prefix: str = ""
) -> dict[str, str | int | float | bool]:
    """Flatten a tree of settings to `a.b.c` -> plain value; lists and None become text.

    Args:
        tree: Settings as plain JSON.
        prefix: What each name begins with.

    Returns:
        Dotted name -> value; a list or None is JSON text, such as `null`.
    """
    out: dict[str, str | int | float | bool] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out |= flatten_settings(value, f"{name}.")
        else:
            out[name] = value if isinstance(value, str | int | float) else json.dumps(value)
    return out


class LinePrinter:
    """Prints lines, headings and notes to a console. No text can colour or move the cursor."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def print_note(self, text: str) -> None:
        """Print something that differs from the request."""
        self._print_line(Text(f"note: {printable(text)}", style="yellow"))

    def print_unused(self, unused: Mapping[str, int]) -> None:
        """Print what of the training data was not used, by kind."""
        self._print_line(Text(unused_line(unused)))

    def _print_heading(self, title: str, subtitle: str = "") -> None:
        suffix = f" {printable(subtitle)}" if subtitle else ""
        self._print_line(Text(title, style="bold").append(suffix, "not bold"))

    def _print_line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


class BaseRunLogger:
    """What the logs of all training runs share: who writes, resuming, and the clock."""

    def __init__(
        self,
        folder: Path,
        *,
        is_main: bool,
        report_to: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare the log of a run.

        Args:
            folder: The output folder.
            is_main: Whether this process writes the log.
            report_to: Names of trackers.
            config: The recipe as plain JSON, for the trackers.

        Raises:
            UserError: For a tracker that is unknown or not installed.
        """
        self._is_main = is_main
        self._tracker_log = TrackerLog(folder, report_to, config)
        self._last_time = time.perf_counter()

    def _log_resume(
        self,
        printer: LinePrinter,
        checkpoint: Path | None,
        step: int,
        *,
        skipped: Sequence[str] = (),
        changed: Sequence[str] = (),
        replaced: Sequence[str] = (),
    ) -> None:
        """Print what the run resumes from, and drop the lines of the log after it.

        Args:
            printer: Where to print.
            checkpoint: The checkpoint that the run resumes from; None to start at step 0.
            step: Its step.
            skipped: Checkpoints that cannot be resumed from, and why.
            changed: Settings that differ from those of the checkpoint.
            replaced: Checkpoints that a run which starts over will replace.
        """
        for reason in skipped:
            printer.print_note(f"skipped {reason}")
        if replaced:
            printer.print_note(f"starts over; its first checkpoint replaces {', '.join(replaced)}")
        if checkpoint is not None:
            printer.print_note(f"resuming from {checkpoint.name}, step {step:,}")
            for difference in changed:
                printer.print_note(difference)
        if self._is_main:
            self._tracker_log.resume(step)
        self._last_time = time.perf_counter()


def accuracy_parts(metrics: Mapping[str, Any]) -> list[str]:
    """Return a dev source's accuracy with its interval, and its macro-F1, as console text.

    Args:
        metrics: Metrics of one dev source as JSON, shares in 0..1 (`validation.label_metrics`).
    """
    limits = metrics["accuracy_95"]
    interval = f" [{100 * limits[0]:.1f}, {100 * limits[1]:.1f}]" if limits else ""
    return [
        f"accuracy {format_percent(metrics['accuracy'])}{interval}",
        f"macro-F1 {format_percent(metrics['macro_f1'])}",
    ]


def format_percent(share: float | None) -> str:
    """Return a share (0..1) as `12.3%`; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f}%"


def _append(path: Path, line: bytes) -> None:
    """Append a complete line or nothing: what a full disk cut off is taken back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as f:
        size_before = f.tell()
        try:
            written = f.write(line)
            while written < len(line):
                written += f.write(line[written:])
        except OSError:
            f.truncate(size_before)
            raise


def _replace(path: Path, content: bytes) -> None:
    with jsonl.atomic_write(path) as f:
        f.write(content)


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite(value: Any) -> Any:
    """Return the value with every number that JSON does not know replaced by its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
