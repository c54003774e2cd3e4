"""What a request to explain is answered: one entry for each post, in order.

An entry holds the `Example`, byte for byte as the command line writes it, or what was wrong with
that post. Knows nothing of HTTP.

    {"answers": [{"row": 1, "example": {"post": …, "opinions": […]}},
                 {"row": 2, "error": {"reason": "…", "mend": "…"}}]}
"""

from collections.abc import Sequence

from pydantic import Field

from gen_msa.readers import Reading
from gen_msa.serving.batching import FAILED
from gen_msa.serving.figures import Figures
from gen_msa.serving.posts import Taken
from gen_msa.serving.problems import Problem
from gen_msa.types import Example, Noun


class Answered(Noun):
    """A post that was read."""

    row: int = Field(ge=1)
    """1 for the first post of the request."""
    example: Example


class Refused(Noun):
    """A post that was not read."""

    row: int = Field(ge=1)
    error: Problem


class Answers(Noun):
    """One entry for each post, in order."""

    answers: tuple[Answered | Refused, ...]


def answers(
    rows: Sequence[Taken | Problem], readings: Sequence[Reading], figures: Figures
) -> tuple[bytes, int]:
    """The JSON of `Answers`, and how many posts were not read. `readings` are of those taken."""
    left = iter(readings)
    entries: list[bytes] = []
    bad = 0
    for row, one in enumerate(rows, 1):
        if isinstance(one, Taken):
            reading = next(left)
            if not reading.refused:
                example = one.example(reading).model_dump_json().encode()
                entries.append(b'{"row":%d,"example":%b}' % (row, example))
                figures.posts.labels("answered").inc()
                continue
            failed = reading.refused == FAILED
            problem = Problem(reason=one.named(reading.refused), mend=one.named(reading.mend))
        else:
            failed, problem = False, one
        bad += 1
        entries.append(Refused(row=row, error=problem).model_dump_json().encode())
        figures.posts.labels("failed" if failed else "refused").inc()
    return b'{"answers":[%b]}' % b",".join(entries), bad
