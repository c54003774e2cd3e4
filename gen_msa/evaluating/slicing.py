"""Cuts the rows of an evaluation into slices: by number of aspects, length, negation, picture.

A slice gives each row one level, or none. Knows nothing of figures.

    levels("negation", pairs)        # {"no": [0, 2], "yes": [1]}: places in `pairs`
"""

import re
from collections.abc import Callable, Mapping, Sequence

from gen_msa.errors import UserError, did_you_mean
from gen_msa.metrics import Pair
from gen_msa.spans import SearchableText

_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|hardly|barely)\b|n['’]t\b",
    re.IGNORECASE,
)
_SHORT, _LONG = 10, 20
"""Words; about the lower and upper third of Twitter-2015."""


def _aspects(pair: Pair) -> str:
    n = len(pair.post.aspects)
    return "3 and more" if n >= 3 else str(n)


def _length(pair: Pair) -> str:
    n = len(pair.post.text.split())
    return f"to {_SHORT} words" if n <= _SHORT else f"over {_LONG}" if n > _LONG else "between"


def _negation(pair: Pair) -> str:
    return "yes" if _NEGATION.search(pair.post.text) else "no"


def _image(pair: Pair) -> str:
    return "with" if any(m.kind == "image" for m in pair.post.media) else "without"


def _visible(pair: Pair) -> str:
    """Whether the aspect is named in what stands for the picture; no level where nothing does."""
    opinion = pair.gold or pair.prediction
    image_text = " ".join(pair.extra_inputs.get(name, "") for name in ("caption", "objects"))
    if opinion is None or not opinion.aspect.term or not image_text.strip():
        return ""
    return "named in it" if SearchableText(image_text).find(opinion.aspect.term) else "not named in it"


def _gold(pair: Pair) -> str:
    return str(pair.label or "")


SLICES: Mapping[str, Callable[[Pair], str]] = {
    "aspects": _aspects,
    "length": _length,
    "negation": _negation,
    "picture": _image,
    "visible": _visible,
    "gold": _gold,
}


def slice_rows(name: str, pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Level -> places of its rows, levels in sorted order. Raises `UserError` for no such slice."""
    if name not in SLICES:
        raise UserError(f"no slice named {name!r}", hint=did_you_mean(name, SLICES))
    indices_by_level: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        level = SLICES[name](pair)
        if level:
            indices_by_level.setdefault(level, []).append(i)
    return dict(sorted(indices_by_level.items()))
