"""Every corpus that is on disk, read by `echo`: do the rows add up, and is every line valid?

    GEN_MSA_DATA=... python eval/bench/datasets.py

A line a split: rows of the source, posts written and set aside, opinions, and peak memory so far.
Exits with 1 when a count is off, a line is no valid example, or a post is missing or doubled.
"""

import json
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import datasets, open_examples
from gen_msa.errors import UserError
from gen_msa.types import Example


def check_split(ref: str, folder: Path) -> tuple[dict[str, object], bool]:
    """Return the counts of one split, and whether they add up."""
    source = open_examples(ref)
    expected = Counter(r.post.id for r in source.rows() if isinstance(r, Example))
    out = folder / "opinions.jsonl"
    settings = JobSettings(model="echo", prompt="predict/plain")
    counts = annotate(source, out, settings).counts
    with out.open("rb") as lines:
        written_examples = [Example.model_validate_json(line) for line in lines]
    n_opinions = sum(len(e.opinions_by("echo")) for e in written_examples)
    adds_up = (
        Counter(e.post.id for e in written_examples) == expected
        and counts.written == len(written_examples)
        and counts.rows == counts.written + counts.rejected
        and counts.opinions == n_opinions
        and all(e.opinions_by("echo") for e in written_examples)
    )
    report = {
        "data": ref,
        "rows": counts.rows,
        "written": counts.written,
        "rejected": counts.rejected,
        "opinions": n_opinions,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "adds_up": adds_up,
    }
    return report, adds_up


def main() -> int:
    """All splits of all corpora."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in datasets.names():
            for split in datasets[name].splits:
                try:
                    report, adds_up = check_split(f"{name}:{split}", Path(folder))
                except UserError as e:
                    print(json.dumps({"data": f"{name}:{split}", "not on disk": e.problem[-60:]}))
                    continue
                good = good and adds_up
                print(json.dumps(report), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
