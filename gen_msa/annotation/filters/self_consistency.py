"""Agreement: asked again and again, the teacher says the same label (self-consistency).

Wang et al., ICLR 2023 (arXiv 2203.11171), who vote among sampled answers; here the answer that
stands must have the votes. An answer that could not be read votes for nobody.

    gates={agreement: {k: 5, least: 0.6}}
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters.base import Candidate, FilterContext, Stage, filters
from gen_msa.errors import UserError
from gen_msa.settings import Settings
from gen_msa.types import Post


class SelfConsistencyOptions(Settings):
    """How many votes, and how many of them must agree."""

    n_samples: int = Field(default=5, ge=1, le=100)
    """Further answers drawn for each."""
    min_agreement: float = Field(default=0.6, gt=0.0, le=1.0)
    """Share of those that must have the label of the answer."""


@filters.register
class SelfConsistencyFilter:
    """Has the teacher read each aspect `k` times more."""

    Options: ClassVar[type[Settings]] = SelfConsistencyOptions
    stage: ClassVar[Stage] = "model"

    def __init__(self, options: SelfConsistencyOptions, context: FilterContext) -> None:
        if context.sample is None:
            raise UserError(
                "the gate agreement needs a reader that draws answers; this one always says the"
                " same, or was told the label",
                hint="leave agreement out, or use an http: or vllm: reader, not guided",
            )
        self._options = options
        self._sample = context.sample

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a label that too few further answers repeat."""
        votes = [0] * len(rows)
        posts = [_post_about(row) for row in rows]
        for sample_index in range(self._options.n_samples):
            for row_index, prediction in enumerate(self._sample(posts, sample_index)):
                labels = {o.aspect: o.polarity for o in prediction.opinions}
                votes[row_index] += (
                    labels.get(rows[row_index].opinion.aspect) is rows[row_index].opinion.polarity
                )
        return [self._verdict(n) for n in votes]

    def fingerprint(self) -> JsonValue:
        """Nothing besides the options: the teacher's own is the job's."""
        return None

    def _verdict(self, votes: int) -> str | None:
        if votes >= self._options.min_agreement * self._options.n_samples:
            return None
        return f"{votes} of {self._options.n_samples} further answers agree"


def _post_about(row: Candidate) -> Post:
    return row.post.model_copy(update={"aspects": (row.opinion.aspect,)})
