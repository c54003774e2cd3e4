"""Keeps what an answer quotes verbatim: within double quotes stand only words of a given text.

Greedy decoding with one rule: whatever stands between quotation marks must be whole words of the
text, letter for letter; a quote that is still open must be able to become so, and an answer does
not end within one. The likeliest token that keeps the rule is taken; where none of the likely ones
does, the model's own is, and the quote can be seen not to be verbatim. Knows no model.

    Quoter(layout.decode, ends).choose(answer_ids, forced, "Battery awful", scores, best)
"""

from collections.abc import Callable, Collection, Sequence

import torch

LIKELY = 256
"""Tokens that are tried, likeliest first."""

Decode = Callable[[Sequence[int], Sequence[int]], str]


class Quoter:
    """Chooses tokens for answers that quote.

    `decode` gives the text of ids after a context; `ends` are the tokens that end an answer.
    """

    def __init__(self, decode: Decode, ends: Collection[int]) -> None:
        self._decode = decode
        self._ends = ends

    def choose(
        self,
        ids: Sequence[int],
        context: Sequence[int],
        text: str,
        scores: torch.Tensor,
        best: int,
    ) -> int:
        """The token to go on with: `best` if it keeps the rule, else the likeliest that does.

        `ids` is the answer so far, after `context`; `scores` [vocabulary] are those of the next
        token.
        """
        if self._keeps([*ids, best], context, text):
            return best
        likely = scores.topk(min(LIKELY, scores.shape[-1])).indices.tolist()
        found = (t for t in likely if self._keeps([*ids, t], context, text))
        return next(found, best)

    def _keeps(self, ids: Sequence[int], context: Sequence[int], text: str) -> bool:
        _, *parts = self._decode(ids, context).split('"')
        open_ = len(parts) % 2 == 1
        if open_ and ids[-1] in self._ends:
            return False
        quoted = parts[::2]
        closed = quoted[:-1] if open_ else quoted
        whole = all(stands(q, text, whole=True) for q in closed)
        return whole and (not open_ or stands(quoted[-1], text, whole=False))


def stands(words: str, text: str, *, whole: bool) -> bool:
    """Whether `words` stand in `text` from a word's beginning on, if `whole` to a word's end."""
    if whole and not words.strip():
        return False
    at = text.find(words)
    while at >= 0:
        end = at + len(words)
        if not _within(text, at) and not (whole and _within(text, end)):
            return True
        at = text.find(words, at + 1) if words else -1
    return False


def _within(text: str, at: int) -> bool:
    """Whether a word goes on across place `at`."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()
