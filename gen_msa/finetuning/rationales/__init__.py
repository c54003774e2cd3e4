"""Rationale sources: where the explanations to learn come from, given the labels.

A source is a module here, named `NAME[:TARGET][*SHARE]`. Sources are tried in order, and the first
one with a rationale gives it; a label without one is learned alone. Every rationale names the
aspect and quotes only text of the post.

    find_sources("minigpt4:twitter2015,cue*0.3").explain(examples, "gold")
"""

from gen_msa.finetuning.rationales.base import (
    BindableSource,
    RationaleChain,
    RationaleSource,
    RationaleSourceFactory,
    find_sources,
    rationale_sources,
    stable_random,
)

__all__ = [
    "BindableSource",
    "RationaleChain",
    "RationaleSource",
    "RationaleSourceFactory",
    "find_sources",
    "rationale_sources",
    "stable_random",
]
