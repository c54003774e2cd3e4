"""Find the words of a post that decide a student's answer, by removing them.

A word counts by the drop of the chosen class's probability without it (occlusion: Zeiler and Fergus
2014; erasure of words: Li, Monroe and Jurafsky 2016). One word's drop is small where others say the
same, so the strongest words are also removed together; the result is the smallest set whose removal
costs nearly as much as that of all. Other inputs (an image, a context) are removed as a whole. The
words of the aspect stay, because without them there is no question.

    attribution = attribute(rows, probs, predict)[0]
    [rows[0].text[start:end] for start, end in attribution.spans]          # ["great"]
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gen_msa.models.base import AspectExample
from gen_msa.spans import SearchableText

Span = tuple[int, int]
PredictFn = Callable[[Sequence[AspectExample]], Sequence[Sequence[float]]]
"""Rows -> the probability of each class."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_COMBINING_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff"
_LETTERS = rf"(?:[^\W{_UNSPACED}]|[{_COMBINING_MARKS}])+"
_WORD = re.compile(
    rf"{_LETTERS}(?:['’-]{_LETTERS})*|[{_UNSPACED}]|[\u2600-\u27bf\U0001f000-\U0001faff]"
    r"|(?<!\w)(?:[:;=]['-]?[()DPp|*/]+|<3+)(?!\w)"
)
"""A word with its apostrophes and hyphens, one character of a script without spaces, an emoji or an
emoticon.
"""
_MAX_WORD_CHARS = 60
"""A longer word is an identifier or a URL, and not an explanation."""
_MAX_UNSEEN_CHARS = 1_000
"""Characters of a text after those that the model sees, which may move up into its sight."""


@dataclass(frozen=True)
class OcclusionLimits:
    """Size of the search, and thresholds of its result."""

    min_drop: float = 0.1
    """Smallest drop of probability that counts."""
    max_words: int = 4
    """Most words in the result."""
    sufficient_share: float = 0.8
    """Share of the largest drop at which a smaller set of words suffices."""
    search_words: int = 48
    """Texts with more words are first searched by runs of words; the strongest half is kept.

    At least 8.
    """


@dataclass(frozen=True)
class Attribution:
    """What decides one answer."""

    spans: tuple[Span, ...] = ()
    """Spans in the text, the strongest first; empty where removing words changes little."""
    drop: float = 0.0
    """Drop of the chosen class's probability without these words."""
    part_drops: dict[str, float] = field(default_factory=dict)
    """Modality, or `context` -> drop without it, where at least `OcclusionLimits.min_drop`."""


def attribute(
    rows: Sequence[AspectExample],
    probs: Sequence[Sequence[float]],
    predict: PredictFn,
    limits: OcclusionLimits = OcclusionLimits(),
    visible_ends: Sequence[int | None] | None = None,
) -> list[Attribution]:
    """Find for each row what decides its most likely class.

    All rows are predicted together, two or three times for texts of up to `limits.search_words`
    words.

    Args:
        rows: Rows to explain.
        probs: Probability of each class for each row; a row with values that are not finite gets no
            result.
        predict: Predicts probabilities of changed rows.
        limits: Size of the search and thresholds.
        visible_ends: For each row the character that the model's sight ends at, if it does: words
            beyond it change no answer.

    Returns:
        One attribution per row.
    """
    ends = visible_ends or [None] * len(rows)
    occluder = _Occluder(rows, probs, predict)
    spans = [
        [s for s in candidate_spans(row) if end is None or s[0] < end] if is_finite else []
        for row, end, is_finite in zip(rows, ends, occluder.is_finite, strict=True)
    ]
    spans = _narrow_spans(occluder, spans, limits.search_words)
    singles = [(i, (span,)) for i, candidates in enumerate(spans) for span in candidates]
    removals = [
        (i, name)
        for i, r in enumerate(rows)
        if occluder.is_finite[i]
        for name in _removable_parts(r)
    ]
    drops = occluder.drops([*singles, *removals])
    ranked: list[list[tuple[float, Span]]] = [[] for _ in rows]
    for (i, (word_span,)), drop in zip(singles, drops, strict=False):
        if drop > 0:
            ranked[i].append((drop, word_span))
    part_drops: list[dict[str, float]] = [{} for _ in rows]
    for (i, name), drop in zip(removals, drops[len(singles) :], strict=True):
        if drop >= limits.min_drop:
            part_drops[i][name] = drop
    strongest = [
        sorted(candidates, key=lambda x: (-x[0], x[1]))[: limits.max_words] for candidates in ranked
    ]
    smallest = _smallest_span_sets(occluder, strongest, limits)
    return [Attribution(*best, part_drops=o) for best, o in zip(smallest, part_drops, strict=True)]


def candidate_spans(row: AspectExample) -> list[Span]:
    """Return the spans of words that may decide an answer: not the aspect's, none overlong."""
    spans = SearchableText(row.text)
    aspect_spans = list(spans.find_whole_words(row.aspect.term)) if row.aspect.term else []
    if row.aspect.start is not None and row.aspect.end is not None and row.aspect.term:
        aspect_spans.append((row.aspect.start, row.aspect.end))
    matches = (m.span() for m in _WORD.finditer(row.text) if len(m[0]) <= _MAX_WORD_CHARS)
    return [
        word
        for word in matches
        if not any(word[0] < end and begin < word[1] for begin, end in aspect_spans)
    ]


def remove_spans(row: AspectExample, spans: Sequence[Span]) -> AspectExample:
    """Remove spans from the text of a row and move the aspect's offset accordingly.

    Args:
        row: Row to change.
        spans: Spans outside the aspect.

    Returns:
        A copy with the shorter text; the inputs of other modalities are kept.
    """
    removed = sorted(spans)
    pieces, last, shift = [], 0, 0
    start = row.aspect.start
    for begin, end in removed:
        # Of the two spaces that would become adjacent, one is removed too.
        if row.text[end : end + 1].isspace() and (begin == 0 or row.text[begin - 1].isspace()):
            end += 1
        pieces.append(row.text[last:begin])
        last = end
        shift += (end - begin) if start is not None and begin < start else 0
    moved = row.aspect if start is None else row.aspect.model_copy(update={"start": start - shift})
    return replace(row, text="".join([*pieces, row.text[last:]]), aspect=moved)


def cut_row(row: AspectExample, visible_end: int | None) -> AspectExample:
    """Shorten a text to what the model sees of it, and what it may see once words are removed.

    Args:
        row: Row to shorten.
        visible_end: The character that the model's sight ends at; None leaves the row as it is.

    Returns:
        A row with the same answers, which costs no more than one of the model's maximum length.
    """
    if visible_end is None:
        return row
    return replace(row, text=row.text[: 2 * visible_end + _MAX_UNSEEN_CHARS])


class _Occluder:
    """Rows with their predictions, and the predictions after removing parts."""

    def __init__(
        self, rows: Sequence[AspectExample], probs: Sequence[Sequence[float]], predict: PredictFn
    ) -> None:
        self._rows, self._predict = rows, predict
        self.is_finite = [all(map(math.isfinite, row_probs)) for row_probs in probs]
        self._class = [max(range(len(s)), key=s.__getitem__) for s in probs]
        self._class_prob = [max(s) for s in probs]

    def drops(self, removals: "Sequence[tuple[int, tuple[Span, ...] | str]]") -> list[float]:
        """Return the drop of row `i`'s class without some words or an input; 0 where NaN."""
        if not removals:
            return []
        new_probs = self._predict([_occlude(self._rows[i], removal) for i, removal in removals])
        losses = [
            self._class_prob[i] - row_probs[self._class[i]]
            for (i, _), row_probs in zip(removals, new_probs, strict=True)
        ]
        return [d if math.isfinite(d) else 0.0 for d in losses]


def _occlude(row: AspectExample, removal: "tuple[Span, ...] | str") -> AspectExample:
    if not isinstance(removal, str):
        return remove_spans(row, removal)
    if removal == "context":
        return replace(row, context="")
    return replace(row, inputs={k: v for k, v in row.inputs.items() if k != removal})


def _removable_parts(row: AspectExample) -> list[str]:
    return [*sorted(row.inputs), *["context"] * bool(row.context.strip())]


def _narrow_spans(occluder: _Occluder, spans: list[list[Span]], limit: int) -> list[list[Span]]:
    """Reduce texts with more than `limit` words to the words of their strongest runs, in order.

    Each round predicts at most `limit` runs of a text and keeps half of them.
    """
    while too_long := [i for i, ranked in enumerate(spans) if len(ranked) > limit]:
        removals: list[tuple[int, tuple[Span, ...]]] = []
        for i in too_long:
            size = max(4, math.ceil(len(spans[i]) / limit))
            runs = [spans[i][start : start + size] for start in range(0, len(spans[i]), size)]
            removals += [(i, tuple(run)) for run in runs]
        drops_by_row: dict[int, list[tuple[float, tuple[Span, ...]]]] = {i: [] for i in too_long}
        for (i, run), drop in zip(removals, occluder.drops(removals), strict=True):
            drops_by_row[i].append((drop, run))
        for i, ranked in drops_by_row.items():
            strongest = sorted(ranked, key=lambda x: (-x[0], x[1]))[: len(ranked) // 2]
            spans[i] = sorted(span for _, run in strongest for span in run)
    return spans


def _smallest_span_sets(
    occluder: _Occluder, strongest: list[list[tuple[float, Span]]], limits: OcclusionLimits
) -> list[tuple[tuple[Span, ...], float]]:
    """Return for each row the fewest of its strongest words that cost nearly what all cost."""
    removals = [
        (i, tuple(span for _, span in ranked[:k]))
        for i, ranked in enumerate(strongest)
        for k in range(2, len(ranked) + 1)
    ]
    losses = [[drop for drop, _ in ranked[:1]] for ranked in strongest]
    for (i, _), drop in zip(removals, occluder.drops(removals), strict=True):
        losses[i].append(drop)
    smallest: list[tuple[tuple[Span, ...], float]] = []
    for ranked, drops in zip(strongest, losses, strict=True):
        best = max(drops, default=0.0)
        if best < limits.min_drop:
            smallest.append(((), 0.0))
            continue
        k = next(k for k, drop in enumerate(drops) if drop >= limits.sufficient_share * best)
        smallest.append((tuple(span for _, span in ranked[: k + 1]), drops[k]))
    return smallest
