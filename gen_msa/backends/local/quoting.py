"""Keeps what an answer quotes verbatim: within double quotes stand only words of a given text.

Greedy decoding with one rule: whatever stands between quotation marks must be whole words of the
text, letter for letter; a quote that is still open must be able to become so, and an answer does
not end within one. The likeliest token that keeps the rule is taken; where none does, the model's
own is, and the quote can be seen not to be verbatim. Knows no model.

    Quoter(layout.decode, ends).choose(answer_ids, forced, "Battery awful", scores, best)
"""

import re
from collections.abc import Callable, Collection, Sequence

import torch

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
        said = self._decode(ids, context)
        if self._goes_on(said, [*ids, best], context, text) or not _kept(said, text):
            # All is well; or the rule is broken already, and every search would be in vain.
            return best
        order = scores.argsort(descending=True).tolist()
        found = (t for t in order if self._goes_on(said, [*ids, t], context, text))
        return next(found, best)

    def _goes_on(self, said: str, ids: Sequence[int], context: Sequence[int], text: str) -> bool:
        """Whether an answer that reads `said` may go on as `ids`."""
        now = self._decode(ids, context)
        quote = _open_quote(now)
        if quote is None:
            return _kept(now, text)
        if ids[-1] in self._ends or (now == said and not _wide_next(quote, text)):
            # Nothing was added, or half a character where the text has none of several bytes.
            return False
        return _kept(now, text)


def _open_quote(said: str) -> str | None:
    """The words of a quote that is not closed yet, or None."""
    parts = said.split('"')
    return parts[-1] if len(parts) % 2 == 0 else None


def _kept(said: str, text: str) -> bool:
    """Whether every quote keeps the rule so far."""
    _, *parts = said.split('"')
    closed = parts[: len(parts) // 2 * 2 : 2]
    quote = _open_quote(said)
    whole = all(stands(q, text, whole=True) for q in closed)
    return whole and (quote is None or stands(quote, text, whole=False))


def _wide_next(quote: str, text: str) -> bool:
    """Whether `quote` is followed by a character of several bytes somewhere in `text`."""
    places = (m.end() for m in re.finditer(re.escape(quote), text))
    return any(not c.isascii() for at in places for c in text[at : at + 1])


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
