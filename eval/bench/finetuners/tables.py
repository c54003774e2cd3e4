"""Converts laps to metrics: medians, ranges, and ratios of laps of the same round.

print(table([line(spec, laps, ours)]))
"""

import statistics
from collections.abc import Sequence
from typing import Any

from finetuners import Lap, Spec


def line(spec: Spec, laps: Sequence[Lap], ours: Sequence[Lap]) -> dict[str, Any]:
    """Return the metrics of a contender beside our laps of the same rounds.

    `speedup`: rows per second of ours over those of this one: median, minimum and maximum.

    Args:
        spec: The contender.
        laps: Its laps.
        ours: Our laps of the same rounds.
    """
    speeds = [lap.rows / lap.cpu for lap in laps]
    ratios = [(o.rows / o.cpu) / (t.rows / t.cpu) for o, t in zip(ours, laps, strict=True)]
    return {
        "name": spec.name,
        "rows_per_s": _spread(speeds),
        "speedup": _spread(ratios),
        "rows": laps[0].rows,
        "updates": laps[0].updates,
        "peak_mb": round(max(lap.peak_mb for lap in laps)),
    }


def _spread(values: Sequence[float]) -> list[float]:
    return [round(v, 3) for v in (statistics.median(values), min(values), max(values))]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the lines as a Markdown table."""
    rows = ["| | rows/s (range) | gen_msa is faster by | updates | MB |", "|---|---|---|---|---|"]
    for entry in lines:
        speed, ratio = (
            "{:.2f} ({:.2f} to {:.2f})".format(*entry[k]) for k in ("rows_per_s", "speedup")
        )
        rows.append(
            f"| {entry['name']} | {speed} | {ratio} | {entry['updates']} | {entry['peak_mb']} |"
        )
    return "\n".join(rows)
