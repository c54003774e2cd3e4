"""Answers that gates refused, to be learned at a weight of their own.

`gen-msa annotate` writes them to OUT.rejected.jsonl beside OUT.jsonl, each with the gates that
refused it. Knows nothing of gates but their names.

    Refused("teacher.jsonl", "teacher", {"clues": 0.5}).of(example)      # [(Opinion, 0.5)]
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Opinion

FILTER_PREFIX = "failed."
"""How the keys of `Opinion.how` begin that name a gate which refused the opinion."""


class RejectedAnswers:
    """What one reader said and gates refused, by post and aspect."""

    def __init__(self, source: str, annotator: str, weights: Mapping[str, float]) -> None:
        """`weights`: gate -> 0 to 1; an answer has the product over the gates that refused it.

        Without weights nothing is read. Raises `UserError` when there is no file of refused
        answers, or a gate is named that refused none of them.
        """
        self._answers: dict[str, dict[Aspect, tuple[Opinion, float]]] = {}
        if not weights:
            return
        path = Path(source).with_suffix(".rejected.jsonl")
        if not path.is_file():
            raise UserError(
                f"data.gates: no refused answers at {path}",
                hint="`source` is to be a file that gen-msa annotate wrote",
            )
        filters_seen: set[str] = set()
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            post, opinion = _parse_answer(path, number, line)
            if opinion is None or opinion.annotator != annotator or opinion.polarity is None:
                continue
            filters = {k.removeprefix(FILTER_PREFIX) for k in opinion.provenance if k.startswith(FILTER_PREFIX)}
            filters_seen |= filters
            self._add(post, opinion, _filter_weight(filters, weights))
        if unknown := sorted(set(weights) - filters_seen):
            names_seen = ", ".join(sorted(filters_seen)) or "none"
            raise UserError(f"data.gates: {unknown[0]} refused no answer of {annotator}; {names_seen} did")

    def for_example(self, example: Example) -> list[tuple[Opinion, float]]:
        """The answers on aspects of which no accepted one speaks, each with its weight, above 0."""
        answers = self._answers.get(example.post.id, {})
        accepted = {(o.annotator, o.aspect) for o in example.opinions}
        return [(o, w) for o, w in answers.values() if (o.annotator, o.aspect) not in accepted]

    def _add(self, post: str, opinion: Opinion, weight: float) -> None:
        """Of several answers to one question the one that counts most; of like ones the first."""
        by_aspect = self._answers.setdefault(post, {})
        if weight > by_aspect.get(opinion.aspect, (opinion, 0.0))[1]:
            by_aspect[opinion.aspect] = opinion, weight


def _filter_weight(filters: set[str], weights: Mapping[str, float]) -> float:
    """An answer without the name of a gate, or of a gate without a weight, counts nothing."""
    total = float(bool(filters))
    for name in filters:
        total *= weights.get(name, 0.0)
    return total


def _parse_answer(path: Path, number: int, line: bytes) -> tuple[str, Opinion | None]:
    try:
        row = json.loads(line)
        opinion_json = row.get("opinion")
        return str(row.get("post", "")), Opinion.model_validate(opinion_json) if opinion_json else None
    except (ValueError, AttributeError, RecursionError, ValidationError) as e:
        raise UserError(
            f"{path}:{number} is no refused answer: {str(e).splitlines()[0]}",
            hint="annotate again; the ledger keeps what was answered",
        ) from None
