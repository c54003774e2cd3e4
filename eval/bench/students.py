"""Students: posts/s, CPU-seconds, megabytes and memory of a student, its graphs, and larger models.

    GEN_MSA_DATA=... python eval/bench/students.py [--student DIR] [--laps 5] [--builtin 16]
    python eval/bench/students.py --posts tiny --rows 8 --laps 1 --builtin 0        # a smoke test

Without `--student` one with new weights of MiniLM's size is read: weights change no time. `base` is
a classifier of BERT-base's size (12 layers, 768) of the same code. Each contender is a process of
one thread that reads the same posts, 16 rows at a time, in laps that take turns; the first lap is
left out. Speed is of process CPU time, median over laps; ratios are of laps of the same round.
`+ explanations` finds evidence words too. The builtin model gets `--builtin` posts, with and
(`labels`) without explanations.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gen_msa import predictors
from gen_msa.errors import UserError
from gen_msa.evaluation import cost
from gen_msa.evaluation.cost import Measurement, model_size_mb
from gen_msa.predictors import Predictor
from gen_msa.types import Post, Rejected

BASE = {"layers": 12, "width": 768, "heads": 12, "inner": 3072}
BASE_SPEEDUP, BUILTIN_SPEEDUP = 3.0, 200.0
"""Targets: int8 against `base`, and a student against `builtin`."""


class BenchmarkEntry(NamedTuple):
    """A model and its settings."""

    name: str
    settings: dict[str, Any]
    posts: int | None = None

    def make(self) -> Callable[[], Predictor]:
        """Return the function that loads the model, in its own process."""
        return partial(predictors.make, predictors.PredictorSettings(**self.settings), Path())


def measure_laps(
    entries: list[BenchmarkEntry], posts: list[Post], laps: int
) -> dict[str, list[Measurement]]:
    """Run laps of each entry, in rounds; two are loaded at a time, the first beside each other.

    Raises `UserError` when one of them fails.
    """
    laps_by_name: dict[str, list[Measurement]] = {}
    first, *others = (
        (c, cost.BenchmarkTask(c.name, c.make(), posts[: c.posts], len(posts))) for c in entries
    )
    for entry, other in others:
        for name, race_result in cost.benchmark([first[1], other], laps).items():
            if race_result.error:
                raise UserError(f"{name}: {race_result.error}")
            laps_by_name.setdefault(name, []).extend(race_result.measurements)
        print(json.dumps(describe_entry(entry, laps_by_name[entry.name], laps_by_name)), flush=True)
    return laps_by_name


def describe_entry(
    entry: BenchmarkEntry, laps: list[Measurement], laps_by_name: dict[str, list[Measurement]]
) -> dict[str, Any]:
    """Return the report of an entry; `first_is_faster_by`: median and range over rounds."""
    first_entry_laps = next(iter(laps_by_name.values()))[-len(laps) :]
    ratios = sorted(speed(a) / speed(b) for a, b in zip(first_entry_laps, laps, strict=True))
    size = model_size_mb(entry.settings["model"])
    return {
        "model": entry.name,
        "posts": laps[0].n_posts,
        "opinions": laps[0].n_opinions,
        "posts_per_cpu_second": round(statistics.median(map(speed, laps)), 2),
        "cpu_seconds_per_1000_posts": round(1e3 / statistics.median(map(speed, laps)), 1),
        "posts_per_second": round(statistics.median(x.n_posts / x.wall_seconds for x in laps), 2),
        "first_is_faster_by": [
            round(r, 2) for r in (statistics.median(ratios), *ratios[:: len(ratios) - 1 or 1])
        ],
        "megabytes": size and round(size, 1),
        "peak_mb": round(max(x.peak_mb for x in laps)),
    }


def speed(measurement: Measurement) -> float:
    """Return posts a second of CPU time."""
    return measurement.n_posts / measurement.cpu_seconds


def build_entries(options: argparse.Namespace, home: Path) -> list[BenchmarkEntry]:
    """Build the entries, the int8 graph first: all others are compared with it."""
    from gen_msa.models.onnx_export import export_student

    student = Path(options.student) if options.student else new_student(home / "student", {})
    base = new_student(home / "base", BASE)
    export_student(student, home / "onnx")
    export_student(student, home / "int8", int8=True)
    folders = {"onnx int8": home / "int8", "torch": student, "onnx": home / "onnx", "base": base}
    if options.base_graphs:
        export_student(base, home / "base-onnx")
        export_student(base, home / "base-int8", int8=True)
        folders |= {"base onnx": home / "base-onnx", "base int8": home / "base-int8"}
    entries = [BenchmarkEntry(k, student_settings(v)) for k, v in folders.items()]
    for name in ("onnx int8", "torch"):
        entries.append(
            BenchmarkEntry(
                f"{name} + explanations", student_settings(folders[name], explanations=True)
            )
        )
    if options.builtin:
        shared: dict[str, Any] = {
            "model": "builtin",
            "aspects": "given",
            "adapter_settings": "override",
        }
        shared["backend"] = {"dtype": "bfloat16", "batch_size": 32}
        labels = {**shared, "max_new_tokens": 1}
        entries.append(BenchmarkEntry("builtin labels", labels, posts=options.builtin))
        entries.append(BenchmarkEntry("builtin", shared, posts=options.builtin))
    return entries


def student_settings(folder: Path, *, explanations: bool = False) -> dict[str, Any]:
    return {"model": f"student:{folder}", "aspects": "given", "explanations": explanations}


def new_student(folder: Path, config: dict[str, int]) -> Path:
    """Save a student with random weights and MiniLM's tokenizer."""
    from gen_msa import manifest
    from gen_msa.encoders.text import minilm
    from gen_msa.models import InputDims, models
    from gen_msa.models.inference import serialization
    from gen_msa.models.inputs.collator import Collator

    student = models["text"](InputDims(width={"text": 30522}), **config)
    with manifest.atomic_directory(folder) as draft:
        collate = Collator(minilm.tokenizer_path().read_text("utf-8"))
        serialization.save_student(draft, student, collate, text="post", name="text")
    return folder


def load_posts(source: str, max_posts: int) -> list[Post]:
    from gen_msa.data import open_examples

    posts = (e.post for e in open_examples(source).rows() if not isinstance(e, Rejected))
    return [p for p, _ in zip(posts, range(max_posts), strict=False)]


def check_targets(laps_by_name: dict[str, list[Measurement]]) -> dict[str, Any]:
    """Whether the marks are met, of medians."""
    speed_by_name = {k: statistics.median(map(speed, v)) for k, v in laps_by_name.items()}
    report = {"int8_over_base": round(speed_by_name["onnx int8"] / speed_by_name["base"], 2)}
    report["int8_over_base_mark"] = report["int8_over_base"] >= BASE_SPEEDUP
    for name in ("onnx int8", "onnx", "torch"):
        for other in ("builtin", "builtin labels"):
            if other in speed_by_name:
                report[f"{name}_over_{other}"] = round(
                    speed_by_name[name] / speed_by_name[other], 1
                )
    if "builtin" in speed_by_name:
        report["student_over_builtin_mark"] = (
            speed_by_name["onnx int8"] >= BUILTIN_SPEEDUP * speed_by_name["builtin"]
        )
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--student", default="", help="a student's folder")
    parser.add_argument("--posts", default="twitter2015:dev")
    parser.add_argument("--rows", type=int, default=64, help="posts of a lap")
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--builtin", type=int, default=16, help="posts it reads in a lap; 0: none")
    parser.add_argument("--base-graphs", action="store_true", help="graphs of `base` too")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="students-"))
    try:
        entries = build_entries(options, home)
        posts = load_posts(options.posts, options.rows)
        laps_by_name = measure_laps(entries, posts, options.laps)
        print(json.dumps(describe_entry(entries[0], laps_by_name[entries[0].name], laps_by_name)))
        print(json.dumps(check_targets(laps_by_name)))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
