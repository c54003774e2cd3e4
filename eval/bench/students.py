"""Students: posts/s, CPU-seconds, megabytes and memory of a student, its graphs, and larger models.

    GEN_MSA_DATA=... python eval/bench/students.py [--student DIR] [--laps 5] [--builtin 16]
    python eval/bench/students.py --posts tiny --rows 8 --laps 1 --builtin 0        # a smoke test

Without `--student` one with new weights of MiniLM's size is read: weights change no time. `base` is
a classifier of BERT-base's size (12 layers, 768) of the same code. Each contender is a process of
one thread that reads the same posts, 16 rows at a time, in laps that take turns; the first lap is
left out. Speed is of process CPU time, median over laps; ratios are of laps of the same round.
`+ reasons` finds evidence words too. The builtin reader reads `--builtin` posts, with its reason
and (`labels`) without.
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

from gen_msa import readers
from gen_msa.errors import UserError
from gen_msa.evaluating.costing import Lap, racing
from gen_msa.evaluating.costing.shipping import megabytes
from gen_msa.readers import Reader
from gen_msa.types import Post, Rejected

BASE = {"layers": 12, "width": 768, "heads": 12, "inner": 3072}
FASTER, KEPT = 3.0, 200.0
"""The marks: int8 against `base`, and a student against `builtin`."""


class Contender(NamedTuple):
    """A reader and how it is asked."""

    name: str
    settings: dict[str, Any]
    posts: int | None = None

    def make(self) -> Callable[[], Reader]:
        """What makes the reader, in its own process."""
        return partial(readers.make, readers.ReaderSettings(**self.settings), Path())


def laps_of(contenders: list[Contender], posts: list[Post], laps: int) -> dict[str, list[Lap]]:
    """Laps of each contender, in rounds; two are loaded at a time, the first beside each other.

    Raises `UserError` when one of them fails.
    """
    found: dict[str, list[Lap]] = {}
    first, *others = (
        (c, racing.Contender(c.name, c.make(), posts[: c.posts], len(posts))) for c in contenders
    )
    for one, other in others:
        for name, ran in racing.race([first[1], other], laps).items():
            if ran.error:
                raise UserError(f"{name}: {ran.error}")
            found.setdefault(name, []).extend(ran.laps)
        print(json.dumps(told(one, found[one.name], found)), flush=True)
    return found


def told(one: Contender, laps: list[Lap], found: dict[str, list[Lap]]) -> dict[str, Any]:
    """What is printed of a contender; `first_is_faster_by`: median and range over rounds."""
    beside = next(iter(found.values()))[-len(laps) :]
    ratios = sorted(speed(a) / speed(b) for a, b in zip(beside, laps, strict=True))
    size = megabytes(one.settings["reader"])
    return {
        "reader": one.name,
        "posts": laps[0].posts,
        "opinions": laps[0].opinions,
        "posts_per_cpu_second": round(statistics.median(map(speed, laps)), 2),
        "cpu_seconds_per_1000_posts": round(1e3 / statistics.median(map(speed, laps)), 1),
        "posts_per_second": round(statistics.median(x.posts / x.wall for x in laps), 2),
        "first_is_faster_by": [
            round(r, 2) for r in (statistics.median(ratios), *ratios[:: len(ratios) - 1 or 1])
        ],
        "megabytes": size and round(size, 1),
        "peak_mb": round(max(x.peak_mb for x in laps)),
    }


def speed(one: Lap) -> float:
    """Posts a second of CPU time."""
    return one.posts / one.cpu


def contenders(asked: argparse.Namespace, home: Path) -> list[Contender]:
    """The graph in 8 bits first: it is what all others are held against."""
    from gen_msa.students.exporting.writing import export

    student = Path(asked.student) if asked.student else new(home / "student", {})
    base = new(home / "base", BASE)
    export(student, home / "onnx")
    export(student, home / "int8", int8=True)
    folders = {"onnx int8": home / "int8", "torch": student, "onnx": home / "onnx", "base": base}
    if asked.base_graphs:
        export(base, home / "base-onnx")
        export(base, home / "base-int8", int8=True)
        folders |= {"base onnx": home / "base-onnx", "base int8": home / "base-int8"}
    found = [Contender(k, plain(v)) for k, v in folders.items()]
    for name in ("onnx int8", "torch"):
        found.append(Contender(f"{name} + reasons", plain(folders[name], reasons=True)))
    if asked.builtin:
        shared: dict[str, Any] = {
            "reader": "builtin",
            "aspects": "given",
            "adapter_settings": "override",
        }
        shared["backend"] = {"dtype": "bfloat16", "batch_size": 32}
        labels = {**shared, "max_new_tokens": 1}
        found.append(Contender("builtin labels", labels, posts=asked.builtin))
        found.append(Contender("builtin", shared, posts=asked.builtin))
    return found


def plain(folder: Path, *, reasons: bool = False) -> dict[str, Any]:
    return {"reader": f"student:{folder}", "aspects": "given", "reasons": reasons}


def new(folder: Path, numbers: dict[str, int]) -> Path:
    """A student with new weights and MiniLM's tokenizer."""
    from gen_msa import manifest
    from gen_msa.students import Sizes, students
    from gen_msa.students.common import keeping, minilm
    from gen_msa.students.common.collating import Words

    made = students["text"](Sizes(width={"text": 30522}), **numbers)
    with manifest.staged(folder) as draft:
        collate = Words(minilm.tokenizer().read_text("utf-8"))
        keeping.write(draft, made, collate, text="post", name="text")
    return folder


def rows(source: str, most: int) -> list[Post]:
    from gen_msa.data import open_source

    found = (e.post for e in open_source(source).rows() if not isinstance(e, Rejected))
    return [p for p, _ in zip(found, range(most), strict=False)]


def marks(found: dict[str, list[Lap]]) -> dict[str, Any]:
    """Whether the marks are met, of medians."""
    by = {k: statistics.median(map(speed, v)) for k, v in found.items()}
    told = {"int8_over_base": round(by["onnx int8"] / by["base"], 2)}
    told["int8_over_base_mark"] = told["int8_over_base"] >= FASTER
    for name in ("onnx int8", "onnx", "torch"):
        for other in ("builtin", "builtin labels"):
            if other in by:
                told[f"{name}_over_{other}"] = round(by[name] / by[other], 1)
    if "builtin" in by:
        told["student_over_builtin_mark"] = by["onnx int8"] >= KEPT * by["builtin"]
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--student", default="", help="a student's folder")
    parser.add_argument("--posts", default="twitter2015:dev")
    parser.add_argument("--rows", type=int, default=64, help="posts of a lap")
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--builtin", type=int, default=16, help="posts it reads in a lap; 0: none")
    parser.add_argument("--base-graphs", action="store_true", help="graphs of `base` too")
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="students-"))
    try:
        some = contenders(asked, home)
        posts = rows(asked.posts, asked.rows)
        found = laps_of(some, posts, asked.laps)
        print(json.dumps(told(some[0], found[some[0].name], found)))
        print(json.dumps(marks(found)))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
