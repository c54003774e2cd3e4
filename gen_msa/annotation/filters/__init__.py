"""Filters of a teacher's answers; one file per filter.

A filter returns for each answer why it is rejected, or None. It never changes an answer and never
sees a gold label.

    factory = filters["length"]
    length = factory(build(factory.Options, {"max_words": 40}, "here"), FilterContext(root))
    length.check([Candidate(post, opinion)])        # ["52 words, at most 40"]
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
