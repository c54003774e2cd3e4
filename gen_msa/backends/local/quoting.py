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

DecodeFunction = Callable[[Sequence[int], Sequence[int]], str]


class QuoteConstraint:
    """Chooses tokens for answers that quote.

    `decode` gives the text of ids after a context; `ends` are the tokens that end an answer.
    """

    def __init__(self, decode: DecodeFunction, end_ids: Collection[int]) -> None:
        self._decode = decode
        self._end_ids = end_ids

    def choose_token(
        self,
        ids: Sequence[int],
        context: Sequence[int],
        text: str,
        scores: torch.Tensor,
        best_token: int,
    ) -> int:
        """The token to go on with: `best` if it keeps the rule, else the likeliest that does.

        `ids` is the answer so far, after `context`; `scores` [vocabulary] are those of the next
        token.
        """
        answer_text = self._decode(ids, context)
        if self._is_allowed(answer_text, [*ids, best_token], context, text) or not _quotes_are_verbatim(answer_text, text):
            # All is well; or the rule is broken already, and every search would be in vain.
            return best_token
        order = scores.argsort(descending=True).tolist()
        allowed = (t for t in order if self._is_allowed(answer_text, [*ids, t], context, text))
        return next(allowed, best_token)

    def _is_allowed(self, answer_text: str, ids: Sequence[int], context: Sequence[int], text: str) -> bool:
        """Whether an answer that reads `said` may go on as `ids`."""
        next_text = self._decode(ids, context)
        quote = _open_quote(next_text)
        if quote is None:
            return _quotes_are_verbatim(next_text, text)
        if ids[-1] in self._end_ids or (next_text == answer_text and not _multibyte_follows(quote, text)):
            # Nothing was added, or half a character where the text has none of several bytes.
            return False
        return _quotes_are_verbatim(next_text, text)


def _open_quote(answer_text: str) -> str | None:
    """The words of a quote that is not closed yet, or None."""
    parts = answer_text.split('"')
    return parts[-1] if len(parts) % 2 == 0 else None


def _quotes_are_verbatim(answer_text: str, text: str) -> bool:
    """Whether every quote keeps the rule so far."""
    _, *parts = answer_text.split('"')
    closed = parts[: len(parts) // 2 * 2 : 2]
    quote = _open_quote(answer_text)
    closed_are_verbatim = all(occurs_at_word(q, text, to_word_end=True) for q in closed)
    return closed_are_verbatim and (quote is None or occurs_at_word(quote, text, to_word_end=False))


def _multibyte_follows(quote: str, text: str) -> bool:
    """Whether `quote` is followed by a character of several bytes somewhere in `text`."""
    quote_ends = (m.end() for m in re.finditer(re.escape(quote), text))
    return any(not c.isascii() for end in quote_ends for c in text[end : end + 1])


def occurs_at_word(phrase: str, text: str, *, to_word_end: bool) -> bool:
    """Whether `words` stand in `text` from a word's beginning on, if `whole` to a word's end."""
    if to_word_end and not phrase.strip():
        return False
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if not _splits_word(text, at) and not (to_word_end and _splits_word(text, end)):
            return True
        at = text.find(phrase, at + 1) if phrase else -1
    return False


def _splits_word(text: str, at: int) -> bool:
    """Whether a word goes on across place `at`."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()
