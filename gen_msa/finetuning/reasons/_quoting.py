"""Puts what a sentence shares with a post in double quotes. Knows nothing of who wrote it.

quoted("It is praised as great fun.", "what GREAT fun it was", "it", Polarity.POSITIVE)
# 'It is praised as "GREAT fun".'
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from gen_msa.cues.parsing.words import word_set
from gen_msa.finetuning.reasons._lexicon import valence
from gen_msa.types import Polarity

MOST_WORDS = 6
"""Of one quote."""
WELL_CUT = re.compile(r'[.!?]"?$')
"""How a sentence ends that was not cut off."""

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_SMALL = word_set(
    "a an the and or but of in on at to for from by with as is are was were be been being it its"
    " this that these those he she they we you i his her their our your my him them us me who"
    " which what when where while will would can could should may might do does did has have had"
    " not no so such there here than then about into over after before up down out off just"
    " also very"
)
_SIGN = {Polarity.NEGATIVE: -1, Polarity.NEUTRAL: 0, Polarity.POSITIVE: 1}


class _Shared(NamedTuple):
    start: int
    """In the sentence."""
    end: int
    quote: str
    """As the post writes it."""


def quoted(sentence: str, text: str, term: str, polarity: Polarity) -> str:
    """The sentence with its words from the post in quotes; "" where they show nothing.

    They show something when one of them leans as the polarity does, or when two or more stand
    together that are no part of the aspect's name; none may lean the other way. A sentence with
    quotes of its own that the post does not hold, with hashtags or letters of other scripts,
    gives "".
    """
    if "#" in sentence or any(c.isalpha() and ord(c) > 0x24F for c in sentence):
        return ""
    own = re.findall('"([^"]*)"', sentence)
    if sentence.count('"') % 2 or any(q.rstrip(".,") not in text for q in own):
        return ""
    shared = list(_shared(sentence.replace('"', ""), text, term))
    leanings = {valence(w) for s in shared for w in s.quote.split()} - {0}
    long = any(len(s.quote.split()) >= 2 for s in shared)
    want = _SIGN[polarity]
    if not shared or leanings - {want} or not (long or want in leanings):
        return ""
    return _marked(sentence.replace('"', ""), shared)


def _marked(sentence: str, shared: list[_Shared]) -> str:
    for s in reversed(shared):
        sentence = f'{sentence[: s.start]}"{s.quote}"{sentence[s.end :]}'
    return sentence


def _shared(sentence: str, text: str, term: str) -> Iterator[_Shared]:
    """The longest runs of words that stand in both, from left to right, without the aspect's."""
    words = list(_WORD.finditer(sentence))
    named = (
        [m.span() for m in re.finditer(re.escape(term), sentence, re.IGNORECASE)] if term else []
    )
    i = 0
    while i < len(words):
        n = _longest(words[i : i + MOST_WORDS], sentence, text, named)
        if n:
            start, end = words[i].start(), words[i + n - 1].end()
            yield _Shared(start, end, _found(sentence[start:end], text))
        i += max(n, 1)


def _longest(
    words: list[re.Match[str]], sentence: str, text: str, named: list[tuple[int, int]]
) -> int:
    for n in range(len(words), 0, -1):
        start, end = words[0].start(), words[n - 1].end()
        run = [w[0].lower() for w in words[:n]]
        apart = all(end <= a or b <= start for a, b in named)
        telling = run[0] not in _SMALL and run[-1] not in _SMALL
        if apart and telling and (n > 1 or valence(run[0])) and _found(sentence[start:end], text):
            return n
    return 0


def _found(words: str, text: str) -> str:
    """The words as the post writes them, whatever their case; "" when they do not stand there."""
    match = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE)
    return match[0] if match and '"' not in match[0] else ""
