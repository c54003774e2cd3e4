"""A million synthetic posts streamed through `echo`: does memory grow with the number of posts?

    python eval/bench/stream.py [POSTS]          # default 1,000,000

Prints resident memory after the first 5 % and at the end, and the rate. Knows nothing of models:
what is measured is the pipeline around it (reading, prompting, parsing, cache, writing).
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from gen_msa.annotation import JobCounts, JobSettings, annotate
from gen_msa.data import open_examples

WORDS = ["screen", "battery", "soup", "waiter", "train", "beach", "song", "lens", "coffee", "queue"]
FEELINGS = ["great", "awful", "fine", "slow", "lovely", "cold", "loud", "sharp", "dull", "endless"]


def resident() -> float:
    """Resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def write(path: Path, posts: int) -> None:
    """Yield `posts` posts with two aspects each, all different."""
    with path.open("w", encoding="utf-8") as f:
        for i in range(posts):
            a, b = WORDS[i % 10], WORDS[(i // 10 + i + 1) % 10]
            text = f"The {a} was {FEELINGS[i // 7 % 10]} and the {b} {FEELINGS[i // 3 % 10]} ({i})"
            f.write(json.dumps({"id": f"s{i}", "text": text, "aspects": [a, b]}) + "\n")


def main(posts: int) -> None:
    """Stream, and print one JSON line."""
    settings = JobSettings(model="echo", chunk=512, prompt="predict/plain")
    resident_marks: list[float] = []

    def note(counts: JobCounts) -> None:
        if counts.rows >= posts * len(resident_marks) / 20:
            resident_marks.append(resident())

    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "posts.jsonl"), Path(folder, "opinions.jsonl")
        write(path, posts)
        began = time.perf_counter()
        cache_path = Path(folder, "opinions.cache")
        outcome = annotate(
            open_examples(str(path)), out, settings, cache_path=cache_path, on_progress=note
        )
        seconds = time.perf_counter() - began
    report = {
        "posts": outcome.counts.rows,
        "opinions": outcome.counts.opinions,
        "posts_per_second": round(posts / seconds),
        "resident_mb_after_5_percent": round(resident_marks[1]),
        "resident_mb_at_end": round(resident()),
        "growth_mb": round(resident() - resident_marks[1]),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "within_200_mb": resident() - resident_marks[1] < 200,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
