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
from gen_msa.metrics.base import UndefinedMetric


def shuffle_explanations(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The same pairs, in order, with every explanation moved to a row of another post.

    Rows without an explanation stay as they are, and each explanation is used once. Quotes and
    notes that belong to an explanation (`evidence`, `how["explanation"]`) are not kept. Raises
    `Undefined` when one post has more than half of all explanations, as they cannot all move.
    """
    rng = Random(seed)
    rows = [i for i, p in enumerate(pairs) if p.explanation]
    if not rows:
        raise UndefinedMetric("no row has an explanation")
    max_per_post = max(Counter(pairs[i].post.id for i in rows).values())
    if 2 * max_per_post > len(rows):
        raise UndefinedMetric("one post has more than half of the explanations: none to shuffle with")
    rng.shuffle(rows)
    post_order = {post: index for index, post in enumerate(dict.fromkeys(pairs[i].post.id for i in rows))}
    rows.sort(key=lambda i: post_order[pairs[i].post.id])
    # Rows of a post lie side by side, so a step of the largest post's size leaves every post.
    source_row = {row: rows[(index + max_per_post) % len(rows)] for index, row in enumerate(rows)}
    return [_with_explanation_of(p, pairs[source_row[i]]) if i in source_row else p for i, p in enumerate(pairs)]


def _with_explanation_of(pair: Pair, donor: Pair) -> Pair:
    if pair.prediction is None or donor.prediction is None:
        raise ValueError("a row without an opinion has no explanation to move")
    provenance = {k: v for k, v in pair.prediction.provenance.items() if k != "explanation"}
    update = {"explanation": donor.prediction.explanation, "evidence": (), "how": provenance}
    return replace(pair, said=pair.prediction.model_copy(update=update))
