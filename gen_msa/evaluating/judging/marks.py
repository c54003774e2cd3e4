"""The nouns of judging: a judge's answer to one question, and all its answers about one row.

Frozen pydantic models, one row of them a line of JSON. Know nothing of how they were had.

    Judgement.model_validate_json(line).scores["correctness"].score
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from gen_msa import jsonl
from gen_msa.types import FrozenModel, Status


class Rating(FrozenModel):
    """A judge's answer to one question."""

    status: Status
    """`ok`, or why there is no answer; `empty` with `asked` false: there was nothing to judge."""
    prompt: str
    """prompt@hash."""
    was_asked: bool = True
    choice: str | None = None
    """The option it chose, as the prompt writes it; None when its answer could not be read."""
    score: float | None = None
    """Of a scale: the expected value over the options' probabilities where the backend gives them,
    else the number it said."""
    probs: dict[str, float] | None = None
    """Probability of each option."""
    reason: str | None = None
    raw: str = ""
    """The judge's own words, kept whole; of an error, what went wrong."""
    provenance: dict[str, str] = Field(default_factory=dict)
    """What the backend and the pictures want known."""


class Judgement(FrozenModel):
    """One explanation and what the judge makes of it, by criterion."""

    post: str
    aspect: str
    start: int | None = None
    cluster: str
    annotator: str
    """Whose explanation it is."""
    judge: str
    """As it would be named on the command line."""
    revision: str
    """Of the judge: what its backend says changes whenever its answers could."""
    ratings: dict[str, Rating]
    """Criterion (the last part of its prompt's name) -> mark."""


def save_judgements(rows: Iterable[FrozenModel], path: Path) -> None:
    """Write judgements or duels as JSON lines; the file appears only when it is whole."""
    with jsonl.atomic_write(path) as f:
        for row in rows:
            f.write(row.model_dump_json().encode() + b"\n")
