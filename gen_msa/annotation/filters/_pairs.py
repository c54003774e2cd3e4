"""Answers as input of metrics, and descriptions of their images.

as_metric_pair(Candidate(post, opinion))        # Pair(post, None, opinion, …)
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gen_msa.annotation.filters.base import Candidate, FilterContext
from gen_msa.cues import CueSource, cue_sources
from gen_msa.errors import UserError
from gen_msa.metrics import Pair
from gen_msa.settings import build
from gen_msa.types import Aspect

_TOKENIZER_SIGNS = re.compile(r"[#@]\s*(?=\w)")
_TOKENIZER_BLANKS = re.compile(r"\s*([-&/])\s*|\s+(?='s\b)|(?<=\w)\s*'\s+(?=s\b)|[.\s]+")


def as_metric_pair(row: Candidate, image_text: Mapping[str, str] | None = None) -> Pair:
    """Return the answer as a metric pair without a reference.

    Args:
        row: The answer.
        image_text: Source -> description of the image.
    """
    return Pair(row.post, None, row.opinion, row.post.id, image_text or {})


def as_detokenized_pair(row: Candidate) -> Pair:
    """Return the pair with aspect names as people write them, for matching names.

    Data sets are tokenized (`# Aurora`, `T - Mobile`, `A . J . Burnett`) and explanations are not:
    signs are dropped, stops become blanks, hyphens join.
    """
    post = row.post.model_copy(
        update={"aspects": tuple(dict.fromkeys(_detokenize_aspect(a) for a in row.post.aspects))}
    )
    update = {
        "aspect": _detokenize_aspect(row.opinion.aspect),
        "explanation": detokenize(row.explanation),
    }
    return Pair(post, None, row.opinion.model_copy(update=update), row.post.id)


def build_cue_sources(
    filter_name: str, options_by_source: Mapping[str, Mapping[str, Any]], context: FilterContext
) -> list[CueSource]:
    """Build the cue sources that describe images.

    Args:
        filter_name: For error messages.
        options_by_source: `objects` or `context` -> options.
        context: For the media root.

    Returns:
        The sources, in the order of the options.

    Raises:
        UserError: A source is neither `objects` nor `context`, or an option is wrong.
    """
    if unknown := set(options_by_source) - {"objects", "context"}:
        raise UserError(
            f"filters.{filter_name}.sources are objects and context, not {', '.join(unknown)}"
        )
    sources = []
    for name, options in options_by_source.items():
        source_type, key_path = cue_sources[name], f"filters.{filter_name}.sources.{name}"
        sources.append(
            source_type(
                build(source_type.Options, {"media_root": context.media_root, **options}, key_path)
            )
        )
    return sources


def image_descriptions(sources: Sequence[CueSource], rows: Sequence[Candidate]) -> list[str]:
    """Return for each row the descriptions of its image as one text; "" if there are none.

    Args:
        sources: The cue sources.
        rows: The answers.
    """
    posts = [row.post.model_copy(update={"aspects": (row.opinion.aspect,)}) for row in rows]
    cues_by_source = [source.cues(posts) for source in sources]
    return ["\n".join(cue_rows[i][0].text for cue_rows in cues_by_source) for i in range(len(rows))]


def detokenize(text: str) -> str:
    """Return a name or explanation without the marks of tokenizers."""
    return _TOKENIZER_BLANKS.sub(
        _join_blank, _TOKENIZER_SIGNS.sub("", text.replace("’", "'"))
    ).strip()


def _join_blank(blank: re.Match[str]) -> str:
    if blank[1]:
        return blank[1]
    return "'" if "'" in blank[0] else " " if blank[0].strip(" ") or blank[0] else ""


def _detokenize_aspect(aspect: Aspect) -> Aspect:
    return Aspect(term=detokenize(aspect.term) or aspect.term)
