"""Rows with scores or explanations, for tests of the families that compare them."""

import numpy

from gen_msa.metrics import Pair
from gen_msa.types import Opinion, Post

VOCABULARY_TEXT = (
    "the screen of this phone is bright and i love it but its battery dies too soon so nobody "
    "should buy one unless charging running runs charged loved loving screens phones daily"
)
VOCABULARY = VOCABULARY_TEXT.split()


def pair(gold=None, prediction=None, number=0):
    """Return a row of two opinions with the given fields; None for no opinion on that side."""
    return Pair(
        post=Post(id=str(number), text="a post"),
        gold=None if gold is None else Opinion(annotator="gold", **gold),
        prediction=None if prediction is None else Opinion(annotator="system", **prediction),
        cluster=str(number),
    )


def explanation_pairs(*texts):
    """Return one row for each (explanation, reference); None for an opinion without one."""
    return [pair({"explanation": r}, {"explanation": e}, i) for i, (e, r) in enumerate(texts)]


def compute_metrics(family, pairs):
    """Return every metric of the rows as a float."""
    return {
        k: float(v) for k, v in family.compute(family.row_statistics(pairs).sum(axis=0)).items()
    }


def random_sentence(rng, words=VOCABULARY, max_words=25):
    """Return a random sentence of 0 to `max_words` words with some punctuation."""
    n = int(rng.integers(0, max_words + 1))
    return " ".join(w + str(rng.choice(["", "", "", ",", "."])) for w in rng.choice(words, n))


def perturb_sentence(rng, text, words=VOCABULARY):
    """Return `text` with some words replaced and others removed."""
    remaining = [w for w in text.split() if rng.random() < 0.9]
    return " ".join(w if rng.random() < 0.7 else str(rng.choice(words)) for w in remaining)


def random_text_pairs(seed, n):
    """Return `n` random (explanation, reference); references are never empty."""
    rng = numpy.random.default_rng(seed)
    text_pairs = []
    while len(text_pairs) < n:
        gold = random_sentence(rng).strip()
        if gold:
            text_pairs.append(
                (
                    (perturb_sentence(rng, gold) if rng.random() < 0.7 else random_sentence(rng)),
                    gold,
                )
            )
    return text_pairs
