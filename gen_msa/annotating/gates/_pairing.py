"""An answer as the metrics take it, and its picture in words. Knows nothing of any one gate.

paired(Candidate(post, opinion))        # Pair(post, gold=None, said=opinion, …)
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gen_msa.annotating.gates.base import Bench, Candidate
from gen_msa.cues import CueSource, cues
from gen_msa.errors import UserError
from gen_msa.metrics import Pair
from gen_msa.settings import build
from gen_msa.types import Aspect

_SIGNS = re.compile(r"[#@]\s*(?=\w)")
_BLANKS = re.compile(r"\s*([-&/])\s*|\s+(?='s\b)|(?<=\w)\s*'\s+(?=s\b)|[.\s]+")


def paired(row: Candidate, shown: Mapping[str, str] | None = None) -> Pair:
    """The answer alone, against nobody."""
    return Pair(row.post, None, row.said, row.post.id, shown or {})


def paired_by_name(row: Candidate) -> Pair:
    """The same, with names as people write them, for what looks for names and nothing else.

    Data sets tokenise (`# Aurora`, `T - Mobile`, `A . J . Burnett`) and reasons do not: signs go,
    stops become blanks, hyphens join.
    """
    post = row.post.model_copy(
        update={"aspects": tuple(dict.fromkeys(_plain(a) for a in row.post.aspects))}
    )
    said = {"aspect": _plain(row.said.aspect), "explanation": written(row.reason)}
    return Pair(post, None, row.said.model_copy(update=said), row.post.id)


def sources_of(gate: str, given: Mapping[str, Mapping[str, Any]], bench: Bench) -> list[CueSource]:
    """The cue sources that say what a picture shows. Raises `UserError` for any other."""
    if other := set(given) - {"objects", "context"}:
        raise UserError(f"gates.{gate}.sources are objects and context, not {', '.join(other)}")
    made = []
    for name, options in given.items():
        kind, where = cues[name], f"gates.{gate}.sources.{name}"
        made.append(kind(build(kind.Options, {"media_root": bench.media_root, **options}, where)))
    return made


def seen_by(sources: Sequence[CueSource], rows: Sequence[Candidate]) -> list[str]:
    """What the sources say of each row's picture, in one text; "" where they say nothing."""
    posts = [r.post.model_copy(update={"aspects": (r.said.aspect,)}) for r in rows]
    said = [source.cues(posts) for source in sources]
    return ["\n".join(found[i][0].text for found in said) for i in range(len(rows))]


def written(text: str) -> str:
    """A name or a reason without the marks of tokenisers."""
    return _BLANKS.sub(_joined, _SIGNS.sub("", text.replace("’", "'"))).strip()


def _joined(blank: re.Match[str]) -> str:
    if blank[1]:
        return blank[1]
    return "'" if "'" in blank[0] else " " if blank[0].strip(" ") or blank[0] else ""


def _plain(aspect: Aspect) -> Aspect:
    return Aspect(term=written(aspect.term) or aspect.term)
