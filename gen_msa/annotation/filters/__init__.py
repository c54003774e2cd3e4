"""Gates: what a teacher's answer must stand before anybody learns from it. A gate is a file here.

A gate looks at answers and says for each why it is refused, or None. It never changes one, and
never sees a gold label. Knows nothing of files, retries or of what becomes of the refused.

    gate = gates["length"](build(gates["length"].Options, {"max_words": 40}, "here"), bench)
    gate.check([Candidate(post, opinion)])        # ["52 words, at most 40"]
"""

from gen_msa.annotation.filters.base import (
    NO_EXPLANATION,
    Candidate,
    Filter,
    FilterContext,
    FilterFactory,
    SampleFn,
    Stage,
    filters,
)

__all__ = [
    "NO_EXPLANATION",
    "Candidate",
    "Filter",
    "FilterContext",
    "FilterFactory",
    "SampleFn",
    "Stage",
    "filters",
]
