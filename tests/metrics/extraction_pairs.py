"""Rows of one post for tests of joint extraction."""

from gen_msa.metrics import Pair
from gen_msa.types import Aspect, Opinion, Polarity, Post

TEXT = "the battery life is short, the screen is bright, the battery life is long"
NEG, NEU, POS = Polarity


def extraction_pairs(gold, predicted, number=0, **provenance):
    """Return unpaired rows of a post: gold and predicted (term, start, polarity), one per row."""
    post = Post(id=str(number), text=TEXT)

    def opinions(annotator, elements):
        return [
            Opinion(
                annotator=annotator,
                aspect=Aspect(term=t, start=start),
                polarity=p,
                provenance=provenance,
            )
            for t, start, p in elements
        ]

    pairs = [Pair(post, o, None, post.id) for o in opinions("gold", gold)]
    return pairs + [Pair(post, None, o, post.id) for o in opinions("system", predicted)]
