"""The rows of an evaluation, reader by reader: gold's first, so that readers compare row by row.

Knows which picture a row belongs to and what stands for that picture in words. Knows nothing of
figures.

    Pairing(plan, data).of("builtin")       # list[Pair]
"""

from itertools import chain

from gen_msa.cues import cue_sources
from gen_msa.evaluating.gathering import EvaluationData
from gen_msa.evaluating.suite import Suite
from gen_msa.metrics import Pair, pair_up
from gen_msa.settings import build
from gen_msa.types import OVERALL_ASPECT, Example


class PairBuilder:
    """Pairs of one data set; what is shown beside the posts is looked up once."""

    def __init__(self, suite: Suite, data: EvaluationData) -> None:
        self._suite = suite
        self._data = data
        self._image_texts = _image_texts(suite, data)

    def pairs_of(self, annotator: str) -> list[Pair]:
        """One reader's pairs: gold's rows in the order of the data, then what it said besides."""
        pairs = [
            pair_up(e, annotator, self._suite.reference, cluster=cluster_id(self._suite, e), extra_inputs=s)
            for e, s in zip(self._data.examples, self._image_texts, strict=True)
        ]
        return sorted(chain.from_iterable(pairs), key=lambda p: p.gold is None)


def cluster_id(suite: Suite, example: Example) -> str:
    """What the example's rows share: its first picture, or the post itself where it has none."""
    images = (m.path for m in example.post.media if m.kind == "image")
    image = next(images, "") if suite.cluster == "picture" else ""
    return f"picture {image}" if image else f"post {example.post.id}"


def _image_texts(suite: Suite, data: EvaluationData) -> list[dict[str, str]]:
    """For each post, what stands for its picture, by name."""
    # What a picture shows does not depend on the aspect: the post as a whole is asked for.
    posts = [e.post.model_copy(update={"aspects": (OVERALL_ASPECT,)}) for e in data.examples]
    image_texts: list[dict[str, str]] = [{} for _ in posts]
    source_class = cue_sources["context"]
    for name, options in suite.image_text.items():
        source = source_class(build(source_class.Options, options, f"shown.{name}"))
        for texts, (cue,) in zip(image_texts, source.cues(posts), strict=True):
            if cue.text:
                texts[name] = cue.text
    return image_texts
