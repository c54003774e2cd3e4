"""Any reader over any file: `explain` is this with a default reader and no gates.

    outcome = annotate(open_source("posts.jsonl"), Path("opinions.jsonl"), JobSettings())

With `AnnotateSettings` a teacher's answers must pass `gates/` to be written; `audit` looks for
labels where none may be. Knows nothing of how a reader comes to its opinions, or of reports. Meets
the other verbs in files only.
"""

from gen_msa.annotating._ending import Outcome
from gen_msa.annotating._job import annotate, annotate_shard, prepared
from gen_msa.annotating._output import Counts
from gen_msa.annotating._settings import AnnotateSettings, JobSettings, Prices
from gen_msa.annotating.merging import merge
from gen_msa.annotating.shards import Shard
from gen_msa.annotating.summary import Summary
from gen_msa.data.label_leak import audit

__all__ = [
    "AnnotateSettings",
    "Counts",
    "JobSettings",
    "Outcome",
    "Prices",
    "Shard",
    "Summary",
    "annotate",
    "annotate_shard",
    "audit",
    "merge",
    "prepared",
]
