"""Puts what a sentence shares with a post in double quotes. Knows nothing of who wrote it.

quoted("It is praised as great fun.", "what GREAT fun it was", "it", Polarity.POSITIVE)
# 'It is praised as "GREAT fun".'
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from gen_msa.cues.parsing.words import word_set
from gen_msa.finetuning.reasons._lexicon import word_polarity
from gen_msa.types import Polarity

MAX_QUOTE_WORDS = 6
"""Of one quote."""
SENTENCE_END = re.compile(r'[.!?]"?$')
"""How a sentence ends that was not cut off."""

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_STOPWORDS = word_set(
    "a an the and or but of in on at to for from by with as is are was were be been being it its"
    " this that these those he she they we you i his her their our your my him them us me who"
    " which what when where while will would can could should may might do does did has have had"
    " not no so such there here than then about into over after before up down out off just"
    " also very"
)
_SIGN = {Polarity.NEGATIVE: -1, Polarity.NEUTRAL: 0, Polarity.POSITIVE: 1}


class _SharedRun(NamedTuple):
    start: int
    """In the sentence."""
    end: int
    quote: str
    """As the post writes it."""


def quote_shared_words(sentence: str, text: str, term: str, polarity: Polarity) -> str:
    """The sentence with its words from the post in quotes; "" where they show nothing.

    They show something when one of them leans as the polarity does, or when two or more stand
    together that are no part of the aspect's name; none may lean the other way. A sentence with
    quotes of its own that the post does not hold, with hashtags or letters of other scripts,
    gives "".
    """
    if "#" in sentence or any(c.isalpha() and ord(c) > 0x24F for c in sentence):
        return ""
    existing_quotes = re.findall('"([^"]*)"', sentence)
    if sentence.count('"') % 2 or any(q.rstrip(".,") not in text for q in existing_quotes):
        return ""
    runs = list(_shared_runs(sentence.replace('"', ""), text, term))
    polarities = {word_polarity(w) for s in runs for w in s.quote.split()} - {0}
    has_long_run = any(len(s.quote.split()) >= 2 for s in runs)
    sign = _SIGN[polarity]
    if not runs or polarities - {sign} or not (has_long_run or sign in polarities):
        return ""
    return _add_quotes(sentence.replace('"', ""), runs)


def _add_quotes(sentence: str, runs: list[_SharedRun]) -> str:
    for run in reversed(runs):
        sentence = f'{sentence[: run.start]}"{run.quote}"{sentence[run.end :]}'
    return sentence


def _shared_runs(sentence: str, text: str, term: str) -> Iterator[_SharedRun]:
    """The longest runs of words that stand in both, from left to right, without the aspect's."""
    words = list(_WORD.finditer(sentence))
    aspect_spans = (
        [m.span() for m in re.finditer(re.escape(term), sentence, re.IGNORECASE)] if term else []
    )
    i = 0
    while i < len(words):
        n = _longest_run(words[i : i + MAX_QUOTE_WORDS], sentence, text, aspect_spans)
        if n:
            start, end = words[i].start(), words[i + n - 1].end()
            yield _SharedRun(start, end, _find_in_post(sentence[start:end], text))
        i += max(n, 1)


def _longest_run(
    words: list[re.Match[str]], sentence: str, text: str, aspect_spans: list[tuple[int, int]]
) -> int:
    for n in range(len(words), 0, -1):
        start, end = words[0].start(), words[n - 1].end()
        run = [w[0].lower() for w in words[:n]]
        outside_aspect = all(end <= a or b <= start for a, b in aspect_spans)
        no_stopword_edge = run[0] not in _STOPWORDS and run[-1] not in _STOPWORDS
        if outside_aspect and no_stopword_edge and (n > 1 or word_polarity(run[0])) and _find_in_post(sentence[start:end], text):
            return n
    return 0


def _find_in_post(phrase: str, text: str) -> str:
    """The words as the post writes them, whatever their case; "" when they do not stand there."""
    match = re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE)
    return match[0] if match and '"' not in match[0] else ""
