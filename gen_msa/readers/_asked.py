"""What a reader that is no language model is asked about: the post's aspects, or found ones.

The same rules as a prompted reader's, so that readers side by side are asked the same. Knows
nothing of who answers.

    asked(posts, settings)[0]       # Asked(aspects=(Aspect("soup", 4),), source="given")
"""

from collections.abc import Sequence
from typing import NamedTuple

from gen_msa.errors import UserError
from gen_msa.readers.base import PredictorSettings
from gen_msa.readers.prompted.seeing import StudentInputs, assign_aspects
from gen_msa.types import Aspect, Post


class AspectSelection(NamedTuple):
    """What is asked about one post, and who decided it (`how["aspect_source"]`)."""

    aspects: tuple[Aspect, ...]
    source: str


def select_aspects(posts: Sequence[Post], settings: PredictorSettings) -> list[AspectSelection]:
    """The aspects each post is asked about; `WHOLE_POST` alone where it has none.

    Raises `UserError` where the settings want the reader to list aspects: it cannot.
    """
    if settings.aspects == "reader":
        raise UserError(
            f"{settings.model} cannot list aspects", hint="use aspects=parse, given or overall"
        )
    inputs = [StudentInputs(row, post) for row, post in enumerate(posts)]
    assigned = assign_aspects(inputs, settings, lists_aspects=False)
    return [AspectSelection(s.post.aspects, s.provenance["aspect_source"]) for s in assigned]
