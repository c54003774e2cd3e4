"""Any reader over any file: `explain` is this with a default reader and no gates.

    outcome = annotate(open_source("posts.jsonl"), Path("opinions.jsonl"), JobSettings())

Knows nothing of how a reader comes to its opinions, or of reports. Meets the other verbs in files
only.
"""

from gen_msa.annotating._job import JobSettings, Outcome, annotate
from gen_msa.annotating._output import Counts

__all__ = ["Counts", "JobSettings", "Outcome", "annotate"]
