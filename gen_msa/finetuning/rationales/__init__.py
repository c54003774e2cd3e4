"""Where the reasons to learn come from: a short explanation for a label that is given.

A source is a file here, named `NAME[:TARGET][*SHARE]`. Sources are tried in order, and the first
that has a reason gives it; a label that none can explain is learned alone. Every reason names the
aspect and quotes nothing but what stands in the post. Knows nothing of prompts or tokens.

    find("minigpt4:twitter2015,cue*0.3").reasoned(examples, "gold")
"""

from gen_msa.finetuning.rationales.base import (
    BindableSource,
    RationaleSource,
    RationaleSourceFactory,
    rationale_sources,
)
from gen_msa.finetuning.rationales.sources import RationaleChain, find_sources, stable_random

__all__ = [
    "BindableSource",
    "RationaleChain",
    "RationaleSource",
    "RationaleSourceFactory",
    "find_sources",
    "rationale_sources",
    "stable_random",
]
