"""What a request to explain is answered: one entry for each post, in order.

An entry holds the `Example`, byte for byte as the command line writes it, or what was wrong with
that post. Knows nothing of HTTP.

    {"answers": [{"row": 1, "example": {"post": …, "opinions": […]}},
                 {"row": 2, "error": {"reason": "…", "mend": "…"}}]}
"""

from collections.abc import Sequence

from pydantic import Field

from gen_msa.readers import Prediction
from gen_msa.serving.batching import PREDICTOR_FAILED
from gen_msa.serving.figures import ServiceMetrics
from gen_msa.serving.posts import AcceptedPost
from gen_msa.serving.problems import ErrorDetail
from gen_msa.types import Example, FrozenModel


class AnsweredPost(FrozenModel):
    """A post that was read."""

    row: int = Field(ge=1)
    """1 for the first post of the request."""
    example: Example


class RejectedPost(FrozenModel):
    """A post that was not read."""

    row: int = Field(ge=1)
    error: ErrorDetail


class ExplainResponse(FrozenModel):
    """One entry for each post, in order."""

    answers: tuple[AnsweredPost | RejectedPost, ...]


def build_response(
    rows: Sequence[AcceptedPost | ErrorDetail], predictions: Sequence[Prediction], metrics: ServiceMetrics
) -> tuple[bytes, int]:
    """The JSON of `Answers`, and how many posts were not read. `readings` are of those taken."""
    remaining = iter(predictions)
    entries: list[bytes] = []
    n_rejected = 0
    for row, item in enumerate(rows, 1):
        if isinstance(item, AcceptedPost):
            prediction = next(remaining)
            if not prediction.rejection:
                example = item.to_example(prediction).model_dump_json().encode()
                entries.append(b'{"row":%d,"example":%b}' % (row, example))
                metrics.posts.labels("answered").inc()
                continue
            is_failure = prediction.rejection == PREDICTOR_FAILED
            error = ErrorDetail(reason=item.with_public_names(prediction.rejection), hint=item.with_public_names(prediction.hint))
        else:
            is_failure, error = False, item
        n_rejected += 1
        entries.append(RejectedPost(row=row, error=error).model_dump_json().encode())
        metrics.posts.labels("failed" if is_failure else "refused").inc()
    return b'{"answers":[%b]}' % b",".join(entries), n_rejected
