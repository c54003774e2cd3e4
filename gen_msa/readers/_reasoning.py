"""A reason in words for a model that has none: what carries its answer, quoted, and what stands by.

    soup: positive. It rests most on "great", in "soup was great".
    soup: positive. It rests most on "love"; about soup the post says "soup came late".
    soup: neutral, though no few words of the post carry it.

The same words for the same answer, always. Quotes are the post's own words, letter for letter; the
aspect is named first. Knows nothing of models.

    reason(aspect, polarity, evidence(text, "", carried), nearby([post])[0][0])
"""

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from gen_msa.cues.syntax import Syntax, SyntaxOptions
from gen_msa.cues.window import Window, WindowOptions
from gen_msa.spans import Spans, fold, quotes
from gen_msa.students.common.occluding import Carried
from gen_msa.types import Aspect, Cue, Evidence, Polarity, Post

TEMPLATE = "template"
"""What `how["explanation_source"]` says of such a reason."""
_PICTURES = ("picture", "image", "vision", "video")
_MARKS = ('"{}"', "“{}”", "«{}»")
"""The first is used unless the aspect's own name has such a mark in it."""
_QUOTE = re.compile('["“”„«»「」『』\n]')
_STOPS = " .,;:@"
_PIECES = 2
_WINDOW = 4
"""Words on either side of an aspect, where there is no parse."""


class Nearby(NamedTuple):
    """Stretches of a post that belong to an aspect, verbatim, and who says so."""

    pieces: tuple[str, ...] = ()
    source: str = ""
    """`heads:NAME` of a parse, or `window`; empty when there is no piece."""

    @property
    def parsed(self) -> bool:
        """Whether a parse ties them to the aspect."""
        return self.source.startswith("heads")


_NOTHING = Nearby()


def evidence(text: str, context: str, found: Carried) -> tuple[Evidence, ...]:
    """What carries an answer, the strongest first; words side by side are one quote."""
    spans = Spans(text)
    said = []
    for begin, end in _joined(text, found.words):
        quote = text[begin:end]
        # A word that begins or ends within a letter as it is compared cannot be found again.
        if next(spans.whole(quote), None):
            said.append(Evidence(quote=quote, start=begin))
    for name in sorted(found.others, key=lambda n: (-found.others[n], n)):
        if name in _PICTURES:
            said.append(Evidence(quote=f"the {name}", source="picture"))
        elif name == "context":
            said.append(Evidence(quote=context[:200], source="cue"))
    return tuple(said)


def reason(
    aspect: Aspect,
    polarity: Polarity,
    carried: Sequence[Evidence],
    beside: Nearby = _NOTHING,
    others: Sequence[str] = (),
) -> str:
    """The sentence. `others`: what carries the answer besides words, by name.

    Words that merely stand near the aspect are told where the evidence is among them; what a parse
    ties to it is told always.
    """
    words = [e.quote for e in carried if e.source == "text"]
    own = fold(aspect.term.strip())
    for marks, near in product(_MARKS, (beside, _NOTHING)):
        told = _told(aspect, polarity, words, near, others, marks)
        if all(q in words or q in near.pieces or fold(q) == own for q in quotes(told)):
            return told
    core = ["the words listed as evidence"] * bool(words)
    return _told(aspect, polarity, (), _NOTHING, [*core, *others], "")


def nearby(posts: Sequence[Post]) -> list[list[Nearby]]:
    """For each aspect of each post the stretches of its text that belong to it.

    From the parse that came with the post, else the words round the aspect (`window`).
    """
    source = Syntax(SyntaxOptions(parser="heads"))
    window = Window(WindowOptions(words=_WINDOW))
    parsed = iter(source.cues([p for p in posts if p.parse]))
    plain = iter(window.cues([p for p in posts if not p.parse]))
    return [
        [_pieces(p.text, a, c) for a, c in zip(p.aspects, next(told), strict=True)]
        for p in posts
        for told in [parsed if p.parse else plain]
    ]


def _pieces(text: str, aspect: Aspect, cue: Cue) -> Nearby:
    spans, own = Spans(text), fold(aspect.term.strip())
    found = (p.strip(_STOPS) for p in f" {cue.text} ".split(" ... "))
    whole = (p for p in found if p in text and next(spans.whole(p), None) and fold(p) != own)
    kept = tuple(p for p in whole if not _QUOTE.search(p))[:_PIECES]
    return Nearby(kept, cue.source if kept else "")


def _told(
    aspect: Aspect,
    polarity: Polarity,
    words: Sequence[str],
    beside: Nearby,
    others: Sequence[str],
    marks: str,
) -> str:
    name = aspect.term.strip() or "the post as a whole"
    core = _listed([*(marks.format(w) for w in words), *others])
    near = _listed([marks.format(p) for p in beside.pieces])
    if core:
        told = f"{name}: {polarity}. It rests most on {core}"
    else:
        told = f"{name}: {polarity}, though no few words of the post carry it"
    if near and words and all(any(w in p for p in beside.pieces) for w in words):
        return f"{told}, in {near}."
    return f"{told}; about {name} the post says {near}." if near and beside.parsed else f"{told}."


def _listed(said: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(said[:-1]), *said[-1:]]))


def _joined(text: str, words: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Words with but a blank between them as one; each where its strongest word stood."""
    rank = {w: i for i, w in enumerate(words)}
    runs: list[list[tuple[int, int]]] = []
    for word in sorted(words):
        if runs and text[runs[-1][-1][1] : word[0]] == " ":
            runs[-1].append(word)
        else:
            runs.append([word])
    runs.sort(key=lambda run: min(rank[w] for w in run))
    return [(run[0][0], run[-1][1]) for run in runs]
