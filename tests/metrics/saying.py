"""Pairs of opinions with scores or explanations, for tests of the families that compare these."""

import numpy

from gen_msa.metrics import Pair
from gen_msa.types import Opinion, Post

SAID = (
    "the screen of this phone is bright and i love it but its battery dies too soon so nobody "
    "should buy one unless charging running runs charged loved loving screens phones daily"
)
WORDS = SAID.split()


def pair(gold=None, said=None, number=0):
    """Two opinions with the given fields; None: that side said nothing at all."""
    return Pair(
        post=Post(id=str(number), text="a post"),
        gold=None if gold is None else Opinion(by="gold", **gold),
        said=None if said is None else Opinion(by="reader", **said),
        cluster=str(number),
    )


def explained(*texts):
    """One pair for each (explanation, reference); None stands for an opinion without one."""
    return [pair({"explanation": r}, {"explanation": e}, i) for i, (e, r) in enumerate(texts)]


def figures(family, pairs):
    """Every figure of the pairs as a float."""
    return {k: float(v) for k, v in family.values(family.rows(pairs).sum(axis=0)).items()}


def sentence(rng, words=WORDS, most=25):
    """A random sentence of 0 to `most` words with some punctuation."""
    n = int(rng.integers(0, most + 1))
    return " ".join(w + str(rng.choice(["", "", "", ",", "."])) for w in rng.choice(words, n))


def near(rng, text, words=WORDS):
    """`text` with some words replaced and others left out."""
    kept = [w for w in text.split() if rng.random() < 0.9]
    return " ".join(w if rng.random() < 0.7 else str(rng.choice(words)) for w in kept)


def texts(seed, n):
    """`n` random (explanation, reference); references are never empty."""
    rng = numpy.random.default_rng(seed)
    found = []
    while len(found) < n:
        gold = sentence(rng).strip()
        if gold:
            found.append(((near(rng, gold) if rng.random() < 0.7 else sentence(rng)), gold))
    return found
