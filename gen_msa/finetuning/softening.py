"""A teacher's probabilities as token distributions: where the words of the labels part.

Readers tell a model's opinion by the probability of the label words; so a student learns a
teacher's opinion where these words differ. A place is a token of the answer at which words that
began alike go on in different ways; each next token is to have the probability of its words. Often
that is the first token of the label alone. Spelling on is left to the hard label. Plain numbers.

    places([7, 3], {"negative": [7, 3], "positive": [8]}, {"negative": 0.9, "positive": 0.1})
    # ((0, ((7, 0.9), (8, 0.1))),)
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
SoftTargets = tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
"""(Index of the answer's token, its tokens with their probabilities, which sum to 1)."""


def soft_targets(
    answer_ids: Sequence[int], answers: Mapping[K, Sequence[int]], probs: Mapping[K, float]
) -> SoftTargets:
    """Where the tokens of `answers` part, as long as they go along with the learned answer `own`.

    `probs` [0..1] of each answer. A place none of whose answers has any probability is left out.
    """
    targets = []
    remaining = dict(answers)
    for i, token in enumerate(answer_ids):
        next_tokens = {k: ids[i] for k, ids in remaining.items() if i < len(ids)}
        if len(remaining) < 2:
            break
        mass: dict[int, float] = defaultdict(float)
        for k, next_token in next_tokens.items():
            mass[next_token] += probs.get(k, 0.0)
        total = sum(mass.values())
        if len(mass) > 1 and total > 0:
            targets.append((i, tuple((t, m / total) for t, m in mass.items())))
        remaining = {k: remaining[k] for k, next_token in next_tokens.items() if next_token == token}
    return tuple(targets)
