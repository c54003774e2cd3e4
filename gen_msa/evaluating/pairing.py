"""The rows of an evaluation, reader by reader: gold's first, so that readers compare row by row.

Knows which picture a row belongs to and what stands for that picture in words. Knows nothing of
figures.

    Pairing(plan, data).of("builtin")       # list[Pair]
"""

from itertools import chain

from gen_msa.cues import cues
from gen_msa.evaluating.gathering import Gathered
from gen_msa.evaluating.suite import Suite
from gen_msa.metrics import Pair, pair_up
from gen_msa.settings import build
from gen_msa.types import WHOLE_POST, Example


class Pairing:
    """Pairs of one data set; what is shown beside the posts is looked up once."""

    def __init__(self, plan: Suite, data: Gathered) -> None:
        self._plan = plan
        self._data = data
        self._shown = _shown(plan, data)

    def of(self, by: str) -> list[Pair]:
        """One reader's pairs: gold's rows in the order of the data, then what it said besides."""
        found = [
            pair_up(e, by, self._plan.against, cluster=cluster(self._plan, e), shown=s)
            for e, s in zip(self._data.examples, self._shown, strict=True)
        ]
        return sorted(chain.from_iterable(found), key=lambda p: p.gold is None)


def cluster(plan: Suite, example: Example) -> str:
    """What the example's rows share: its first picture, or the post itself where it has none."""
    pictures = (m.path for m in example.post.media if m.kind == "image")
    picture = next(pictures, "") if plan.cluster == "picture" else ""
    return f"picture {picture}" if picture else f"post {example.post.id}"


def _shown(plan: Suite, data: Gathered) -> list[dict[str, str]]:
    """For each post, what stands for its picture, by name."""
    # What a picture shows does not depend on the aspect: the post as a whole is asked for.
    posts = [e.post.model_copy(update={"aspects": (WHOLE_POST,)}) for e in data.examples]
    found: list[dict[str, str]] = [{} for _ in posts]
    kind = cues["context"]
    for name, options in plan.shown.items():
        source = kind(build(kind.Options, options, f"shown.{name}"))
        for texts, (cue,) in zip(found, source.cues(posts), strict=True):
            if cue.text:
                texts[name] = cue.text
    return found
