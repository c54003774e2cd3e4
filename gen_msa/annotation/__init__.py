"""Run any predictor over any source; `explain` is a job without filters.

    result = annotate(open_examples("posts.jsonl"), Path("opinions.jsonl"), JobSettings())

With `AnnotateSettings` a teacher's answers are written only if they pass the `filters`, and
`check_no_label_leak` looks for labels in contexts and explanations.
"""

from gen_msa.annotation.filtered import FilteredAnswer
from gen_msa.annotation.job import annotate, annotate_shard, make_job_teacher
from gen_msa.annotation.output import JobCounts, JobResult
from gen_msa.annotation.settings import AnnotateSettings, JobSettings, Shard
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
    "Shard",
    "Teacher",
    "annotate",
    "annotate_shard",
    "check_no_label_leak",
    "make_job_teacher",
    "merge_shards",
]
