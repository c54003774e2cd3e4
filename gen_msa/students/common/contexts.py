"""The context of a row: what cue sources say of its aspect, one line a source.

The same in training and in reading. Knows nothing of rows, prompts or students.

    contexts([post], {"context": {"files": ["captions.json"]}}, root)[0]     # one text an aspect
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gen_msa import settings
from gen_msa.cues import cue_sources
from gen_msa.types import Post


def build_contexts(
    posts: Sequence[Post], cue_options: Mapping[str, Mapping[str, Any]], root: Path
) -> list[tuple[str, ...]]:
    """For each post one text for each of its aspects; "" where no source has anything to say.

    `root` is where a source that opens pictures itself looks, unless it is told otherwise.
    Raises `UserError` for an unknown source or option.
    """
    lines_by_post: list[list[list[str]]] = [[[] for _ in p.aspects] for p in posts]
    for name, options in cue_options.items():
        cue_class = cue_sources[name]
        defaults = {"media_root": root} if "media_root" in cue_class.Options.model_fields else {}
        source = cue_class(settings.build(cue_class.Options, {**defaults, **options}, f"cues.{name}"))
        for lines, post_cues in zip(lines_by_post, source.cues(posts), strict=True):
            for line, cue in zip(lines, post_cues, strict=True):
                line += [cue.text] * bool(cue.text)
    return [tuple("\n".join(line) for line in lines) for lines in lines_by_post]
