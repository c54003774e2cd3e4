"""The chance level of a check: the same explanations, each given to another post.

What a figure says of shuffled explanations is what it says by chance; a check that does not fall
measures nothing. Knows nothing of any one check.

    family.values(family.rows(permuted(pairs, seed=0)).sum(axis=0))
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Undefined


def permuted(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The same pairs, in order, with every explanation moved to a row of another post.

    Rows without an explanation stay as they are, and each explanation is used once. Quotes and
    notes that belong to an explanation (`evidence`, `how["explanation"]`) are not kept. Raises
    `Undefined` when one post has more than half of all explanations, as they cannot all move.
    """
    rng = Random(seed)
    rows = [i for i, p in enumerate(pairs) if p.explanation]
    if not rows:
        raise Undefined("no row has an explanation")
    most = max(Counter(pairs[i].post.id for i in rows).values())
    if 2 * most > len(rows):
        raise Undefined("one post has more than half of the explanations: none to shuffle with")
    rng.shuffle(rows)
    order = {post: at for at, post in enumerate(dict.fromkeys(pairs[i].post.id for i in rows))}
    rows.sort(key=lambda i: order[pairs[i].post.id])
    # Rows of a post lie side by side, so a step of the largest post's size leaves every post.
    moved = {row: rows[(at + most) % len(rows)] for at, row in enumerate(rows)}
    return [_given(p, pairs[moved[i]]) if i in moved else p for i, p in enumerate(pairs)]


def _given(pair: Pair, other: Pair) -> Pair:
    if pair.said is None or other.said is None:
        raise ValueError("a row without an opinion has no explanation to move")
    how = {k: v for k, v in pair.said.how.items() if k != "explanation"}
    update = {"explanation": other.said.explanation, "evidence": (), "how": how}
    return replace(pair, said=pair.said.model_copy(update=update))
