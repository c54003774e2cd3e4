"""Any reader over any file: `explain` is this with a default reader and no gates.

    outcome = annotate(open_source("posts.jsonl"), Path("opinions.jsonl"), JobSettings())

With `AnnotateSettings` a teacher's answers must pass `gates/` to be written; `audit` looks for
labels where none may be. Knows nothing of how a reader comes to its opinions, or of reports. Meets
the other verbs in files only.
"""

from gen_msa.annotating._ending import JobResult
from gen_msa.annotating._job import annotate, annotate_shard, make_job_teacher
from gen_msa.annotating._output import JobCounts
from gen_msa.annotating._settings import AnnotateSettings, JobSettings, Prices
from gen_msa.annotating.merging import merge_shards
from gen_msa.annotating.shards import Shard
from gen_msa.annotating.summary import AnnotationSummary
from gen_msa.data.label_leak import check_no_label_leak

__all__ = [
    "AnnotateSettings",
    "JobCounts",
    "JobSettings",
    "JobResult",
    "Prices",
    "Shard",
    "AnnotationSummary",
    "annotate",
    "annotate_shard",
    "check_no_label_leak",
    "merge_shards",
    "make_job_teacher",
]
