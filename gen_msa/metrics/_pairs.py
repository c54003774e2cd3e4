"""The rows of an evaluation: the reference's and the system's opinion on one aspect of one post.

Pair(post, gold=Opinion(annotator="gold", ...), prediction=Opinion(annotator="builtin", ...),
cluster="photo.jpg")
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from gen_msa.metrics.base import UndefinedMetric
from gen_msa.spans import fold
from gen_msa.types import (
    CONFLICT_KEY,
    Aspect,
    Example,
    Opinion,
    Polarity,
    Post,
    Status,
    conflict_text,
    given_polarities,
)


@dataclass(frozen=True)
class Pair:
    """One row of an evaluation.

    At least one of `gold` and `prediction` is set. No row is dropped: a missing prediction counts
    as wrong, and a spurious aspect costs precision.
    """

    post: Post
    gold: Opinion | None
    """The reference opinion; None for a spurious aspect."""
    prediction: Opinion | None
    """The system's opinion; None if it has none on this aspect."""
    cluster: str
    """Rows of one cluster (an image or a post) are not independent of each other."""
    extra_inputs: Mapping[str, str] = field(default_factory=dict)
    """Inputs of the system besides the post, by name: `prompt`, `caption`, `objects`, `context`."""

    def __post_init__(self) -> None:
        if self.gold is None and self.prediction is None:
            raise ValueError(f"post {self.post.id}: a pair needs at least one opinion")

    @property
    def label(self) -> Polarity | None:
        """The reference polarity; None if there is none."""
        return self.gold.polarity if self.gold else None

    @property
    def predicted_label(self) -> Polarity | None:
        """The predicted polarity; None if there is no prediction or it could not be parsed."""
        return self.prediction.polarity if self.prediction else None

    @property
    def reference_explanation(self) -> str:
        """The reference explanation, stripped; empty if there is none."""
        return ((self.gold.explanation if self.gold else None) or "").strip()

    @property
    def explanation(self) -> str:
        """The predicted explanation, stripped; empty if there is none."""
        return ((self.prediction.explanation if self.prediction else None) or "").strip()


def image_cluster(post: Post) -> str:
    """Return what rows share that are not independent: the first image, or else the post."""
    image = next((m.path for m in post.media if m.kind == "image"), "")
    return f"image {image}" if image else f"post {post.id}"


def pair_up(
    example: Example,
    annotator: str,
    reference: str = "gold",
    *,
    cluster: str = "",
    extra_inputs: Mapping[str, str] | None = None,
) -> list[Pair]:
    """Join the opinions of a system with those of a reference, aspect by aspect.

    Contradictory predictions on one aspect become one unparsed opinion with all answers in `raw`,
    and all polarities in its provenance for metrics of sets (`types.given_polarities`); equal ones
    count once. A contradictory reference has no polarity, so its row is not scored.

    Args:
        example: The post with the opinions of both.
        annotator: The system.
        reference: The annotator of the reference.
        cluster: The cluster of the rows; the id of the post by default.
        extra_inputs: What the system received besides the post, by name.

    Returns:
        One pair for each aspect of the reference, in its order, then one for each other aspect of
        the system.
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
    # Either may be merged from contradictory opinions itself.
    given = [p for o in (first, second) for p in _ordered_polarities(o)]
    provenance = {**first.provenance, CONFLICT_KEY: conflict_text(given)}
    update = {"polarity": None, "score": None, "probs": None, "status": Status.UNPARSED}
    return first.model_copy(update={**update, "raw": raw, "provenance": provenance})


def _ordered_polarities(opinion: Opinion) -> list[Polarity | None]:
    given = given_polarities(opinion)
    order = opinion.provenance.get(CONFLICT_KEY, "")
    return sorted(given, key=lambda p: order.find(str(p)))


def _match_aspects(
    gold_aspects: Iterable[Aspect], predicted_aspects: Iterable[Aspect]
) -> dict[Aspect, Aspect]:
    """Map each reference aspect to the predicted aspect that denotes it."""
    targets, unmatched = list(gold_aspects), dict.fromkeys(predicted_aspects)
    matches = {a: a for a in targets if a in unmatched}
    for aspect in matches.values():
        del unmatched[aspect]
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
    """Return whether two aspects with the same term can be one: not both have an offset."""
    return prediction.start is None or gold.start is None


def shuffle_explanations(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """Move every explanation to a row of another post, for the chance level of a metric.

    Rows without an explanation do not change, and each explanation is used once. What belongs to
    the original explanation (`evidence`, `provenance["explanation"]`) is removed.

    Args:
        pairs: The rows.
        seed: The seed of the shuffle.

    Returns:
        The same rows, in the same order.

    Raises:
        UndefinedMetric: One post has more than half of all explanations, so they cannot all move.
    """
    rng = Random(seed)
    rows = [i for i, p in enumerate(pairs) if p.explanation]
    if not rows:
        raise UndefinedMetric("no row has an explanation")
    max_per_post = max(Counter(pairs[i].post.id for i in rows).values())
    if 2 * max_per_post > len(rows):
        raise UndefinedMetric(
            "one post has more than half of the explanations: they cannot be shuffled"
        )
    rng.shuffle(rows)
    post_order = {
        post: index for index, post in enumerate(dict.fromkeys(pairs[i].post.id for i in rows))
    }
    rows.sort(key=lambda i: post_order[pairs[i].post.id])
    # Rows of a post are adjacent, so a shift by the largest post's size leaves every post.
    source_row = {row: rows[(index + max_per_post) % len(rows)] for index, row in enumerate(rows)}
    return [
        _with_explanation_of(p, pairs[source_row[i]]) if i in source_row else p
        for i, p in enumerate(pairs)
    ]


def _with_explanation_of(pair: Pair, donor: Pair) -> Pair:
    if pair.prediction is None or donor.prediction is None:
        raise ValueError("a row without an opinion has no explanation to move")
    provenance = {k: v for k, v in pair.prediction.provenance.items() if k != "explanation"}
    update = {"explanation": donor.prediction.explanation, "evidence": (), "provenance": provenance}
    return replace(pair, prediction=pair.prediction.model_copy(update=update))
