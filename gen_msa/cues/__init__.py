"""Cues: one hint an aspect, one prompt slot a source. A cue source is a file here.

Knows nothing of prompts' words or of models that read them. Each source fills the slot it names; a
source that stands in for another (window for syntax) fills the same slot and says so in
`Cue.source`.

    source = cues["syntax"](cues["syntax"].Options(k=2))
    source.cues(posts)          # for each post, one Cue for each of its aspects
"""

from gen_msa.cues.base import CueFactory, CueSource, cue_sources

__all__ = ["CueFactory", "CueSource", "cue_sources"]
