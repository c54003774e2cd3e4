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

FAILED = "failed."
"""How the keys of `Opinion.how` begin that name a gate which refused the opinion."""


class Refused:
    """What one reader said and gates refused, by post and aspect."""

    def __init__(self, source: str, by: str, weights: Mapping[str, float]) -> None:
        """`weights`: gate -> 0 to 1; an answer has the product over the gates that refused it.

        Without weights nothing is read. Raises `UserError` when there is no file of refused
        answers, or a gate is named that refused none of them.
        """
        self._said: dict[str, dict[Aspect, tuple[Opinion, float]]] = {}
        if not weights:
            return
        path = Path(source).with_suffix(".rejected.jsonl")
        if not path.is_file():
            raise UserError(
                f"data.gates: no refused answers at {path}",
                mend="`source` is to be a file that gen-msa annotate wrote",
            )
        seen: set[str] = set()
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            post, opinion = _answer(path, number, line)
            if opinion is None or opinion.by != by or opinion.polarity is None:
                continue
            gates = {k.removeprefix(FAILED) for k in opinion.how if k.startswith(FAILED)}
            seen |= gates
            self._note(post, opinion, _weight(gates, weights))
        if unknown := sorted(set(weights) - seen):
            known = ", ".join(sorted(seen)) or "none"
            raise UserError(f"data.gates: {unknown[0]} refused no answer of {by}; {known} did")

    def of(self, example: Example) -> list[tuple[Opinion, float]]:
        """The answers on aspects of which no accepted one speaks, each with its weight, above 0."""
        found = self._said.get(example.post.id, {})
        accepted = {(o.by, o.aspect) for o in example.opinions}
        return [(o, w) for o, w in found.values() if (o.by, o.aspect) not in accepted]

    def _note(self, post: str, opinion: Opinion, weight: float) -> None:
        """Of several answers to one question the one that counts most; of like ones the first."""
        own = self._said.setdefault(post, {})
        if weight > own.get(opinion.aspect, (opinion, 0.0))[1]:
            own[opinion.aspect] = opinion, weight


def _weight(gates: set[str], weights: Mapping[str, float]) -> float:
    """An answer without the name of a gate, or of a gate without a weight, counts nothing."""
    total = float(bool(gates))
    for gate in gates:
        total *= weights.get(gate, 0.0)
    return total


def _answer(path: Path, number: int, line: bytes) -> tuple[str, Opinion | None]:
    try:
        row = json.loads(line)
        said = row.get("opinion")
        return str(row.get("post", "")), Opinion.model_validate(said) if said else None
    except (ValueError, AttributeError, RecursionError, ValidationError) as e:
        raise UserError(
            f"{path}:{number} is no refused answer: {str(e).splitlines()[0]}",
            mend="annotate again; the ledger keeps what was answered",
        ) from None
