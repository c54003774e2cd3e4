"""Rationales by MiniGPT-4 for Twitter-2015/2017 (released with ArkMSA), of which few are usable.

That teacher is noisy. One or two short sentences are taken if they state the label's sentiment,
name the aspect, speak of the text rather than of an image, and share words with the post, which are
put in double quotes. `counts` tells what became of the others. The target is a folder in
`GEN_MSA_DATA`. Rows are joined by text, target and image.

    find_sources("minigpt4:twitter2017,cue").explain(examples, "gold")
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gen_msa.cues.parsing.lexicon import word_set
from gen_msa.data.minigpt4 import (
    LABEL_WORD,
    RATIONALE_PREFIX,
    RationaleKey,
    find_rationale,
    load_rationales,
    rationale_folder,
    strip_translation,
)
from gen_msa.errors import UserError
from gen_msa.finetuning.rationales._opinion_span import word_polarity
from gen_msa.finetuning.rationales.base import rationale_sources
from gen_msa.types import Example, Opinion, Polarity, Post

MAX_QUOTE_WORDS = 6
"""Of one quote."""
SENTENCE_END = re.compile(r'[.!?]"?$')
"""Matches the end of a complete sentence."""

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
    """Put the words that a sentence shares with a post in double quotes.

    The shared words support the label if one of them has its polarity, or two or more stand
    together outside the aspect's term, and none has the opposite polarity.

    Args:
        sentence: The teacher's sentence.
        text: The text of the post.
        term: The aspect's term, or "".
        polarity: The label.

    Returns:
        The sentence with quotes, or "" if the shared words do not support the label, or if it has
        quotes that are not in the post, hashtags or letters of other scripts.
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
    """Yield the longest runs of words in both texts, in order, outside the aspect's term."""
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
        if (
            outside_aspect
            and no_stopword_edge
            and (n > 1 or word_polarity(run[0]))
            and _find_in_post(sentence[start:end], text)
        ):
            return n
    return 0


def _find_in_post(phrase: str, text: str) -> str:
    """Return the phrase as the post writes it, ignoring case; "" if it does not occur."""
    match = re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE)
    return match[0] if match and '"' not in match[0] else ""


SPLITS = ("train", "dev")
"""Test splits are never read."""
MAX_RATIONALE_WORDS = 40

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])")
_BOILERPLATE = re.compile(
    r"important to note|worth noting|as an ai|transcript|\bI'm\b|provided|more context"
    r"|description|caption|\b(?:this|which) (?:suggests|implies|indicates) that",
    re.IGNORECASE,
)
_IMAGE_WORDS = re.compile(
    r"\b(?:image|images|graph|video|screen|expressions?|picture|pictures|photo|photos|photograph|depict\w*|wear\w*|dressed|pose[sd]?"
    r"|posing|background|visible|camera|expression on|smil\w+|visual\w*|shown|seen|appears?)\b",
    re.IGNORECASE,
)


class MiniGpt4Rationales:
    """Explains labels with the teacher's sentences.

    Args:
        folder: The folder with `train.json` and `dev.json`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table: dict[RationaleKey, str] | None = None
        self.counts: Counter[str] = Counter()
        """`accepted` and each cause of rejection -> number of opinions."""

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """Return, for each example and each of its opinions, a rationale or None.

        Raises:
            UserError: If the folder has no readable rationales.
        """
        if self._table is None:
            self._table = load_rationales(self._folder, SPLITS)
        if not self._table:
            raise UserError(
                f"{self._folder} holds no train.json",
                hint="write minigpt4:FOLDER, for example minigpt4:twitter2015",
            )
        return [
            tuple(self._rationale_for(e.post, o, self._table) for o in e.opinions) for e in examples
        ]

    def _rationale_for(
        self, post: Post, opinion: Opinion, table: dict[RationaleKey, str]
    ) -> str | None:
        response = find_rationale(table, post, opinion.aspect)
        usable, rejection = (
            ("", "no row") if response is None else usable_part(response, post.text, opinion)
        )
        self.counts[rejection or "accepted"] += 1
        return usable or None


def usable_part(response: str, text: str, opinion: Opinion) -> tuple[str, str]:
    """Extract the usable part of a response.

    Args:
        response: What the teacher wrote.
        text: The text of the post.
        opinion: The aspect and its label.

    Returns:
        (Rationale, ""), or ("", why there is none).
    """
    term, gold = opinion.aspect.term, str(opinion.polarity)
    label = LABEL_WORD.search(response)
    if label is None or label[0].lower() != gold:
        return "", "another sentiment"
    body = strip_translation(response)
    sentences = _SENTENCE.split(" ".join(RATIONALE_PREFIX.sub("", body, count=1).split()))
    content_sentences = [s for s in sentences if s and not _BOILERPLATE.search(s)]
    if not content_sentences:
        return "", "boilerplate"
    text_sentences = [s for s in content_sentences if not _IMAGE_WORDS.search(s)]
    if not text_sentences:
        return "", "describes the image"
    consistent = [s for s in text_sentences if {m.lower() for m in LABEL_WORD.findall(s)} <= {gold}]
    if not consistent:
        return "", "contradicts itself"
    quoted_sentences = [
        m
        for s in consistent
        if (m := quote_shared_words(s, text, term, opinion.polarity or Polarity.NEUTRAL))
    ]
    if not quoted_sentences:
        return "", "shares no words with the post"
    naming_aspect = [m for m in (*quoted_sentences, " ".join(quoted_sentences[:2])) if term in m]
    if not term or not naming_aspect:
        return "", "does not name the aspect"
    short = [
        m for m in naming_aspect if len(m.split()) <= MAX_RATIONALE_WORDS and SENTENCE_END.search(m)
    ]
    return (short[0], "") if short else ("", "too long or truncated")


@rationale_sources.register
def create_source(target: str) -> MiniGpt4Rationales:
    """Create the source for a folder in `GEN_MSA_DATA`.

    Raises:
        UserError: If no folder is given, or GEN_MSA_DATA is not set.
    """
    return MiniGpt4Rationales(rationale_folder(target))
