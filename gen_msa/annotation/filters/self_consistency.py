"""The teacher repeats the label when it is sampled again (self-consistency).

Wang et al., ICLR 2023 (arXiv 2203.11171) vote among sampled answers; here the given answer must get
the votes. An answer that cannot be parsed counts as a vote against it.

    filters={self_consistency: {n_samples: 5, min_agreement: 0.6}}
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters.base import Candidate, FilterContext, Stage, filters
from gen_msa.errors import UserError
from gen_msa.settings import Settings
from gen_msa.types import Post


class SelfConsistencyOptions(Settings):
    """Number of votes, and the share that must agree."""

    n_samples: int = Field(default=5, ge=1, le=100)
    """Further answers that are sampled per answer."""
    min_agreement: float = Field(default=0.6, gt=0.0, le=1.0)
    """Minimum share of them with the label of the answer."""


@filters.register
class SelfConsistencyFilter:
    """Samples `n_samples` further answers about each aspect."""

    Options: ClassVar[type[Settings]] = SelfConsistencyOptions
    stage: ClassVar[Stage] = "model"

    def __init__(self, options: SelfConsistencyOptions, context: FilterContext) -> None:
        if context.sample is None:
            raise UserError(
                "the filter self_consistency needs a model that samples; this one is deterministic "
                "or is given the label",
                hint="leave the filter out, or use an http: or vllm: model without guided",
            )
        self._options = options
        self._sample = context.sample

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject a label that too few further answers repeat."""
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
        """Return None: only the options matter; the teacher has its own fingerprint."""
        return None

    def _verdict(self, votes: int) -> str | None:
        if votes >= self._options.min_agreement * self._options.n_samples:
            return None
        return f"{votes} of {self._options.n_samples} further answers agree"


def _post_about(row: Candidate) -> Post:
    return row.post.model_copy(update={"aspects": (row.opinion.aspect,)})
