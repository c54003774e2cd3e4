"""Joins what a reader said of a post with what gold says, aspect by aspect, into `Pair`s.

An aspect is joined by its place, then by its words (NFC and casefold) where one of the two has no
place and only one candidate is left. Nothing is dropped: what finds no partner is a pair of its
own. Knows nothing of files.

    pair_up(example, "builtin")        # one Pair a gold opinion, then what was said besides
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from gen_msa.metrics._pairs import Pair
from gen_msa.spans import fold
from gen_msa.types import Aspect, Example, Opinion, Status

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
    gold_opinions, predictions = _opinion_per_aspect(example, reference), _opinion_per_aspect(example, annotator)
    matches = _match_aspects(gold_opinions, predictions)
    cluster_id, inputs = cluster or example.post.id, extra_inputs or {}
    pairs = [
        Pair(example.post, g, predictions.get(matches[a]) if a in matches else None, cluster_id, inputs)
        for a, g in gold_opinions.items()
    ]
    matched = set(matches.values())
    spurious = [Pair(example.post, None, o, cluster_id, inputs) for a, o in predictions.items() if a not in matched]
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
    polarities = first.provenance.get(CONFLICT_KEY, str(first.polarity))  # all of them, where they are three
    provenance = {**first.provenance, CONFLICT_KEY: f"{polarities} and {second.polarity}"}
    update = {"polarity": None, "score": None, "probs": None, "status": Status.UNPARSED}
    return first.model_copy(update={**update, "raw": raw, "how": provenance})


def _match_aspects(gold_aspects: Iterable[Aspect], predicted_aspects: Iterable[Aspect]) -> dict[Aspect, Aspect]:
    """Which aspect that was said stands for which of gold's."""
    targets, unmatched = list(gold_aspects), dict.fromkeys(predicted_aspects)
    matches = {a: a for a in targets if a in unmatched}
    for match in matches.values():
        del unmatched[match]
    by_folded_term: defaultdict[str, tuple[list[Aspect], list[Aspect]]] = defaultdict(lambda: ([], []))
    for aspect in unmatched:
        by_folded_term[fold(aspect.term)][0].append(aspect)
    for aspect in targets:
        if aspect not in matches:
            by_folded_term[fold(aspect.term)][1].append(aspect)
    for candidates, gold_group in by_folded_term.values():
        for aspect in gold_group:
            compatible = [a for a in candidates if _offsets_compatible(a, aspect)]
            rivals = [a for a in gold_group if a not in matches and any(_offsets_compatible(f, a) for f in compatible)]
            if len(compatible) == 1 and len(rivals) == 1:
                matches[aspect] = compatible[0]
                candidates.remove(compatible[0])
    return matches


def _offsets_compatible(prediction: Aspect, gold: Aspect) -> bool:
    """Whether two aspects of the same words have not two different places."""
    return prediction.start is None or gold.start is None
