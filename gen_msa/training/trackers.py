"""The run's own log, `log.jsonl`, and the trackers of `report_to`.

One JSON object a line: logged steps, and figures of the dev sources. Knows nothing of training.

    book = Logbook(Path("adapters/tiny"), recipe); book.write({"step": 10, "loss": 0.7})
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen_msa.errors import UserError, did_you_mean
from gen_msa.finetuning.recipe import FinetuneRecipe

_PACKAGES = {"comet_ml": "comet-ml"}
"""Package of a tracker where it is not called like it."""


class TrackerLog:
    """Appends to `folder/log.jsonl` and tells the trackers; both begin with the first line.

    Raises `UserError` for a tracker that is unknown or not installed, at once.
    """

    def __init__(self, folder: Path, recipe: FinetuneRecipe) -> None:
        self.path = folder / "log.jsonl"
        self._recipe = recipe
        self._trackers: list[Any] | None = None
        check_trackers(recipe.report_to)

    def resume(self, step: int) -> None:
        """Drop what was logged after `step`, and a line that was cut by a crash."""
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
        """Append one object; trackers get `drawn`, or all its numbers. It must hold `step`."""
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
            self._trackers = (
                start_trackers(self._recipe, self.path.parent) if self._recipe.report_to else []
            )
        return self._trackers

    def _guard_write(self, operation: Any) -> None:
        try:
            operation()
        except OSError as e:
            raise UserError(
                f"{self.path} cannot be written: {e.strerror or e}",
                hint="make room, or choose another output_dir; the last checkpoint is whole",
            ) from None


def check_trackers(names: tuple[str, ...]) -> None:
    """Raise `UserError` unless every tracker is known to accelerate and installed."""
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


def start_trackers(recipe: FinetuneRecipe, folder: Path) -> list[Any]:
    """The trackers of a recipe, started, each told the recipe. Needs accelerate's state."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    trackers = []
    for name in recipe.report_to:
        tracker_class = LOGGER_TYPE_TO_CLASS[name]
        options = {"logging_dir": str(folder)} if tracker_class.requires_logging_directory else {}
        tracker = tracker_class("gen_msa", **options)
        tracker.start()
        tracker.store_init_configuration(flatten_settings(recipe.model_dump(mode="json")))
        trackers.append(tracker)
    return trackers


def flatten_settings(
    tree: Mapping[str, Any], prefix: str = ""
) -> dict[str, str | int | float | bool]:
    """A tree of settings as `a.b.c` -> plain value; lists and None as text."""
    out: dict[str, str | int | float | bool] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out |= flatten_settings(value, f"{name}.")
        else:
            out[name] = value if isinstance(value, str | int | float) else json.dumps(value)
    return out


def _append(path: Path, line: bytes) -> None:
    """Append a whole line or nothing: what a full disk cut off is taken back."""
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
    from gen_msa import jsonl

    with jsonl.atomic_write(path) as f:
        f.write(content)


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite(value: Any) -> Any:
    """JSON knows no NaN: what is not a finite number is written as its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
