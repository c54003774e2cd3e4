"""Marks that people gave, to hold a judge against: JSON lines, one explanation of one rater a line.

    {"post": "1", "aspect": "battery", "by": "builtin", "rater": "ann", "scores": {"focus": 4}}

`aspect` is "" for the whole post; `start` may tell two aspects of one name apart; without `by` the
marks are about whichever reader is judged. Knows nothing of judges.

    read_human(Path("human.jsonl"))
"""

from pathlib import Path

from pydantic import Field

from gen_msa import jsonl
from gen_msa.errors import UserError
from gen_msa.types import FrozenModel, Rejected


class HumanRating(FrozenModel):
    """What one rater made of one explanation."""

    post: str
    aspect: str = ""
    start: int | None = None
    annotator: str = ""
    rater: str = "human"
    scores: dict[str, int] = Field(min_length=1)
    """Criterion -> mark, on the judge's own scale."""

    def matches(self, post: str, aspect: str, start: int | None, annotator: str) -> bool:
        """Whether these marks are about that explanation."""
        same = (self.post, self.aspect) == (post, aspect) and self.annotator in ("", annotator)
        return same and (self.start is None or self.start == start)


def read_human_ratings(path: Path) -> list[HumanRating]:
    """Every line of the file. Raises `UserError` for a bad one: a calibration set is whole."""
    if not path.is_file():
        raise UserError(f"there is no file of human marks at {path}")
    ratings: list[HumanRating] = []
    for row in jsonl.read(path, HumanRating):
        if isinstance(row, Rejected):
            raise UserError(f"{row.file}:{row.line}: {row.reason}", hint=row.hint)
        ratings.append(row)
    return ratings
