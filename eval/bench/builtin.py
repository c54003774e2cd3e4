"""The builtin reader on real posts: Twitter-2015 dev whole, and 300 MVSA posts with pictures.

    GEN_MSA_DATA=... python eval/bench/builtin.py

Prints row counts, accuracy and macro-F1 (an unread answer is wrong), share read, opinions/s and
peak memory. With LEDGER=FILE a killed run goes on where it stopped. The reader is zero-shot and
text-only: the figures say how weak that is.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from sklearn.metrics import accuracy_score, f1_score

from gen_msa.annotating import JobSettings, annotate
from gen_msa.data import open_source
from gen_msa.settings import load
from gen_msa.types import Example, Polarity

SETTINGS = ["max_new_tokens=32", "backend.dtype=bfloat16"]
JOBS = {
    "twitter2015:dev": ["aspects=given"],
    "mvsa_single:dev": ["aspects=overall", "limit=300"],
}
LABELS = [p.value for p in Polarity]


def pairs(path: Path, reader: str) -> list[tuple[str, str]]:
    """Gold label and reader's label of every aspect that has gold; "unread" where it has none."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        example = Example.model_validate_json(line)
        said = {o.aspect: o.polarity for o in example.said_by(reader)}
        for gold in example.said_by("gold"):
            if gold.polarity is not None:
                found.append((gold.polarity.value, str(said.get(gold.aspect) or "unread")))
    return found


def figures(ref: str, overrides: list[str], reader: str, folder: Path) -> dict[str, object]:
    """Run one job and score it."""
    settings = load(JobSettings, None, [f"reader={reader}", *SETTINGS, *overrides])
    out = folder / "opinions.jsonl"
    began, cpu = time.perf_counter(), time.process_time()
    ledger = Path(os.environ["LEDGER"]) if "LEDGER" in os.environ else None
    outcome = annotate(open_source(ref), out, settings, ledger_path=ledger)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    gold, said = zip(*pairs(out, reader), strict=True)
    counts = outcome.counts
    return {
        "data": ref,
        "reader": reader,
        "settings": [*SETTINGS, *overrides],
        "posts": counts.written,
        "rejected": counts.rejected,
        "opinions": counts.opinions,
        "scored": len(gold),
        "read": round(1 - counts.unread / counts.opinions, 4),
        "accuracy": round(100 * accuracy_score(gold, said), 1),
        "macro_f1": round(
            100 * f1_score(gold, said, labels=LABELS, average="macro", zero_division=0), 1
        ),
        "majority_accuracy": round(100 * max(map(gold.count, LABELS)) / len(gold), 1),
        "opinions_per_second": round(counts.opinions / seconds, 2),
        "cpu_seconds": round(cpu),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "data_sha256": outcome.posts_sha256[:12],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for ref, overrides in JOBS.items():
            reader = sys.argv[1] if len(sys.argv) > 1 else "builtin"
            print(json.dumps(figures(ref, overrides, reader, Path(folder))), flush=True)
