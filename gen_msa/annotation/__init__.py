"""Any reader over any file: `explain` is this with a default reader and no gates.

    outcome = annotate(open_source("posts.jsonl"), Path("opinions.jsonl"), JobSettings())

With `AnnotateSettings` a teacher's answers must pass `gates/` to be written; `audit` looks for
labels where none may be. Knows nothing of how a reader comes to its opinions, or of reports. Meets
the other verbs in files only.
"""

from gen_msa.annotation.filtered import FilteredAnswer
from gen_msa.annotation.job import annotate, annotate_shard, make_job_teacher
from gen_msa.annotation.output import JobCounts, JobResult
from gen_msa.annotation.settings import AnnotateSettings, JobSettings, Prices, Shard
from gen_msa.annotation.shard_file import merge_shards
from gen_msa.annotation.summary import AnnotationSummary
from gen_msa.annotation.workers import Teacher
from gen_msa.data.label_leak import check_no_label_leak

__all__ = [
    "AnnotateSettings",
    "AnnotationSummary",
    "FilteredAnswer",
    "JobCounts",
    "JobResult",
    "JobSettings",
    "Prices",
    "Shard",
    "Teacher",
    "annotate",
    "annotate_shard",
    "check_no_label_leak",
    "make_job_teacher",
    "merge_shards",
]
