"""What a metric is given: one aspect of one post, what one reader said of it, and what another did.

Knows nothing of how the two opinions were found or joined.

    Pair(post, gold=Opinion(by="gold", ...), said=Opinion(by="builtin", ...), cluster="photo.jpg")
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from gen_msa.metrics.base import UndefinedMetric
from gen_msa.spans import fold
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post, Status


@dataclass(frozen=True)
class Pair:
    """One row of an evaluation.

    At least one of `gold` and `said` is there. Neither is ever dropped: a reader that was silent
    about an aspect is wrong about it, and an aspect nobody asked for costs precision.
    """

    post: Post
    gold: Opinion | None
    """By whoever the reader is held against; None: the reader named an aspect that gold has not."""
    prediction: Opinion | None
    """By the reader; None: it said nothing about gold's aspect."""
    cluster: str
    """Rows of one cluster (a picture, or a post) are not independent of each other."""
    extra_inputs: Mapping[str, str] = field(default_factory=dict)
    """What the reader saw besides the post, by name: `prompt`, `caption`, `objects`, `context`."""

    def __post_init__(self) -> None:
        if self.gold is None and self.prediction is None:
            raise ValueError(f"post {self.post.id}: a pair without any opinion")

    @property
    def label(self) -> Polarity | None:
        """Gold's polarity; None where there is none to be compared with."""
        return self.gold.polarity if self.gold else None

    @property
    def predicted_label(self) -> Polarity | None:
        """The reader's polarity; None when it said nothing or could not be read."""
        return self.prediction.polarity if self.prediction else None

    @property
    def reference_explanation(self) -> str:
        """Gold's explanation, stripped; empty where it gives none."""
        return ((self.gold.explanation if self.gold else None) or "").strip()

    @property
    def explanation(self) -> str:
        """The reader's explanation, stripped; empty where it gave none."""
        return ((self.prediction.explanation if self.prediction else None) or "").strip()


# Joins what a reader said of a post with what gold says, aspect by aspect, into `Pair`s.

CONFLICT_KEY = "conflict"
"""Key of `Opinion.how` where a reader gave one aspect two polarities."""


def pair_up(
    example: Example,
    annotator: str,
    reference: str = "gold",
    *,
    cluster: str = "",
    extra_inputs: Mapping[str, str] | None = None,
) -> list[Pair]:
    """One pair for each aspect that `against` speaks of, in its order, then one for each other
    aspect that `by` speaks of.

    A reader that says two different things of one aspect has said nothing that can be read: its
    opinion stands as unparsed, with both answers in `raw`. The same said twice counts once. Gold
    that contradicts itself has no polarity, so that its row is in no figure.
    """
    gold_opinions, predictions = (
        _opinion_per_aspect(example, reference),
        _opinion_per_aspect(example, annotator),
    )
    matches = _match_aspects(gold_opinions, predictions)
    cluster_id, inputs = cluster or example.post.id, extra_inputs or {}
    pairs = [
        Pair(
            example.post,
            g,
            predictions.get(matches[a]) if a in matches else None,
            cluster_id,
            inputs,
        )
        for a, g in gold_opinions.items()
    ]
    matched = set(matches.values())
    spurious = [
        Pair(example.post, None, o, cluster_id, inputs)
        for a, o in predictions.items()
        if a not in matched
    ]
    return pairs + spurious


def _opinion_per_aspect(example: Example, annotator: str) -> dict[Aspect, Opinion]:
    opinions: dict[Aspect, Opinion] = {}
    for opinion in example.opinions_by(annotator):
        first = opinions.setdefault(opinion.aspect, opinion)
        if (first.polarity, first.score) != (opinion.polarity, opinion.score):
            opinions[opinion.aspect] = _conflicting_opinion(first, opinion)
    return opinions


def _conflicting_opinion(first: Opinion, second: Opinion) -> Opinion:
    raw = " / ".join(o.raw or str(o.polarity) for o in (first, second))
    polarities = first.provenance.get(
        CONFLICT_KEY, str(first.polarity)
    )  # all of them, where they are three
    provenance = {**first.provenance, CONFLICT_KEY: f"{polarities} and {second.polarity}"}
    update = {"polarity": None, "score": None, "probs": None, "status": Status.UNPARSED}
    return first.model_copy(update={**update, "raw": raw, "how": provenance})


def _match_aspects(
    gold_aspects: Iterable[Aspect], predicted_aspects: Iterable[Aspect]
) -> dict[Aspect, Aspect]:
    """Which aspect that was said stands for which of gold's."""
    targets, unmatched = list(gold_aspects), dict.fromkeys(predicted_aspects)
    matches = {a: a for a in targets if a in unmatched}
    for match in matches.values():
        del unmatched[match]
    by_folded_term: defaultdict[str, tuple[list[Aspect], list[Aspect]]] = defaultdict(
        lambda: ([], [])
    )
    for aspect in unmatched:
        by_folded_term[fold(aspect.term)][0].append(aspect)
    for aspect in targets:
        if aspect not in matches:
            by_folded_term[fold(aspect.term)][1].append(aspect)
    for candidates, gold_group in by_folded_term.values():
        for aspect in gold_group:
            compatible = [a for a in candidates if _offsets_compatible(a, aspect)]
            rivals = [
                a
                for a in gold_group
                if a not in matches and any(_offsets_compatible(f, a) for f in compatible)
            ]
            if len(compatible) == 1 and len(rivals) == 1:
                matches[aspect] = compatible[0]
                candidates.remove(compatible[0])
    return matches


def _offsets_compatible(prediction: Aspect, gold: Aspect) -> bool:
    """Whether two aspects of the same words have not two different places."""
    return prediction.start is None or gold.start is None


# The chance level of a check: the same explanations, each given to another post.


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
        raise UndefinedMetric(
            "one post has more than half of the explanations: none to shuffle with"
        )
    rng.shuffle(rows)
    post_order = {
        post: index for index, post in enumerate(dict.fromkeys(pairs[i].post.id for i in rows))
    }
    rows.sort(key=lambda i: post_order[pairs[i].post.id])
    # Rows of a post lie side by side, so a step of the largest post's size leaves every post.
    source_row = {row: rows[(index + max_per_post) % len(rows)] for index, row in enumerate(rows)}
    return [
        _with_explanation_of(p, pairs[source_row[i]]) if i in source_row else p
        for i, p in enumerate(pairs)
    ]


def _with_explanation_of(pair: Pair, donor: Pair) -> Pair:
    if pair.prediction is None or donor.prediction is None:
        raise ValueError("a row without an opinion has no explanation to move")
    provenance = {k: v for k, v in pair.prediction.provenance.items() if k != "explanation"}
    update = {"explanation": donor.prediction.explanation, "evidence": (), "how": provenance}
    return replace(pair, said=pair.prediction.model_copy(update=update))
