"""Keeps what an answer quotes verbatim: within double quotes stand only words of a given text.

Greedy decoding with one rule: whatever stands between quotation marks, finished or not yet, must
stand in the text letter for letter. The likeliest token that keeps the rule is taken; where none of
the likely ones does, the model's own is, and the quote can be seen not to be verbatim. Knows no
model.

    Quoter(layout.decode).choose(answer_ids, forced, "Battery awful", scores, best)
"""

from collections.abc import Callable, Sequence

import torch

LIKELY = 256
"""Tokens that are tried, likeliest first."""

Decode = Callable[[Sequence[int], Sequence[int]], str]


class Quoter:
    """Chooses tokens for answers that quote; `decode` gives the text of ids after a context."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode

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
        quoted = parts[::2]
        # An odd number of marks: the last quote is still open, and may be empty yet.
        closed = quoted[:-1] if len(parts) % 2 else quoted
        return all(q in text for q in quoted) and all(q.strip() for q in closed)
