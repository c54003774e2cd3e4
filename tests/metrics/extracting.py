"""Pairs of one post whose aspects a reader was to find, for tests of joint extraction."""

from gen_msa.metrics import Pair
from gen_msa.types import Aspect, Opinion, Polarity, Post

TEXT = "the battery life is short, the screen is bright, the battery life is long"
NEG, NEU, POS = Polarity


def found(gold, said, number=0, **how):
    """Pairs of a post: gold's and the reader's (term, start, polarity), unpaired, one a row."""
    post = Post(id=str(number), text=TEXT)

    def opinions(by, elements):
        return [
            Opinion(by=by, aspect=Aspect(term=t, start=at), polarity=p, how=how)
            for t, at, p in elements
        ]

    pairs = [Pair(post, o, None, post.id) for o in opinions("gold", gold)]
    return pairs + [Pair(post, None, o, post.id) for o in opinions("reader", said)]
