"""Cues: hints about an aspect that a prompt shows in a slot. A cue source is a module here.

Each source fills its slot; a source that replaces another (window for syntax) fills the same slot,
and `Cue.source` names it.

    source = cue_sources["syntax"](cue_sources["syntax"].Options(k=2))
    source.cues(posts)          # for each post, one Cue for each of its aspects
"""

from gen_msa.cues.base import CueFactory, CueSource, cue_sources, require_inside

__all__ = ["CueFactory", "CueSource", "cue_sources", "require_inside"]
