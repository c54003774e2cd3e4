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

from gen_msa.annotating import JobSettings, annotate
from gen_msa.data import datasets, open_source
from gen_msa.errors import UserError
from gen_msa.types import Example


def one(ref: str, folder: Path) -> tuple[dict[str, object], bool]:
    """The counts of one split, and whether they add up."""
    source = open_source(ref)
    expected = Counter(r.post.id for r in source.rows() if isinstance(r, Example))
    out = folder / "opinions.jsonl"
    settings = JobSettings(reader="echo", prompt="reader/plain")
    counts = annotate(source, out, settings).counts
    with out.open("rb") as lines:
        found = [Example.model_validate_json(line) for line in lines]
    said = sum(len(e.said_by("echo")) for e in found)
    adds_up = (
        Counter(e.post.id for e in found) == expected
        and counts.written == len(found)
        and counts.rows == counts.written + counts.rejected
        and counts.opinions == said
        and all(e.said_by("echo") for e in found)
    )
    figures = {
        "data": ref,
        "rows": counts.rows,
        "written": counts.written,
        "rejected": counts.rejected,
        "opinions": said,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "adds_up": adds_up,
    }
    return figures, adds_up


def main() -> int:
    """All splits of all corpora."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in datasets.names():
            for split in datasets[name].splits:
                try:
                    figures, adds_up = one(f"{name}:{split}", Path(folder))
                except UserError as e:
                    print(json.dumps({"data": f"{name}:{split}", "not on disk": e.problem[-60:]}))
                    continue
                good = good and adds_up
                print(json.dumps(figures), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
