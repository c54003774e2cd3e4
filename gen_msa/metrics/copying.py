"""How much of an explanation is copied: from its post, and from the prompt it was asked with.

Words of the post are evidence when few and parroting when many; words of the prompt (its worked
examples, its instructions) are never either. The post's text is taken out of the prompt first, and
what stands in both counts as the post's. Knows nothing of quotation marks.

    metrics["copying"]().rows(pairs)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.metrics.explained import MAX_WORDS, ratio, table, take_none, words

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array

N = 4
"""Words of a copied piece."""


@metrics.register
class Copying:
    """Runs of words that an explanation shares with its post, and with its prompt."""

    figures: tuple[Figure, ...] = (
        Figure("post", "4-grams that stand in the post, of all 4-grams", better=""),
        Figure("post_longest", "longest run of the post's words, mean", unit="words", better=""),
        Figure(
            "prompt", "4-grams that stand in the prompt and not in the post, of all", better="low"
        ),
        Figure(
            "prompt_longest",
            "longest run of words that stands in the prompt and not in the post, mean",
            unit="words",
            better="low",
        ),
    )
    signature = f"words after NFC and casefold; first {MAX_WORDS} of an explanation"

    def __init__(self, **options: Any) -> None:
        take_none("copying", options)

    def rows(self, pairs: Sequence[Pair]) -> "Array":
        """Columns: explains, 4-grams, those of the post, longest run of it; then of the rows whose
        prompt is known: one, 4-grams, those of the prompt, longest run of it.
        """
        found = [_row(p) for p in pairs]
        if not any(r[0] for r in found):
            raise Undefined("no row has an explanation")
        return table(found)

    def values(self, sums: "Array") -> "dict[str, Array]":
        """Those of the prompt are NaN where no row knows its prompt."""
        return {
            "post": ratio(sums[..., 2], sums[..., 1]),
            "post_longest": ratio(sums[..., 3], sums[..., 0]),
            "prompt": ratio(sums[..., 6], sums[..., 5]),
            "prompt_longest": ratio(sums[..., 7], sums[..., 4]),
        }


def _row(pair: Pair) -> tuple[float, ...]:
    said = words(pair.explanation)[:MAX_WORDS]
    if not said:
        return (0,) * 8
    post = _line(pair.post.text)
    grams = [_run(said, i, N) for i in range(len(said) - N + 1)]
    about_post = (1, len(grams), sum(g in post for g in grams), longest(said, post))
    asked = pair.shown.get("prompt", "")
    if not asked:
        return (*about_post, 0, 0, 0, 0)
    whole = pair.post.text
    prompt = "|".join(_line(piece) for piece in (asked.split(whole) if whole else [asked]))
    copied = sum(g in prompt and g not in post for g in grams)
    return (*about_post, 1, len(grams), copied, longest(said, prompt, post))


def longest(said: Sequence[str], source: str, beside: str = "") -> int:
    """Words of the longest run of `said` that stands in `source` and not in `beside`.

    Both are words between single blanks, with a blank at either end.
    """
    best = 0
    for i in range(len(said)):
        n = best
        while i + n < len(said) and _run(said, i, n + 1) in source:
            n += 1
        if n > best and _run(said, i, n) not in beside:
            best = n
    return best


def _run(said: Sequence[str], start: int, n: int) -> str:
    return f" {' '.join(said[start : start + n])} "


def _line(text: str) -> str:
    return f" {' '.join(words(text))} "
