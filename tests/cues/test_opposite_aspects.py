"""Test on real sentences that cues differ for two aspects of opposite gold polarity."""

import os
from itertools import product

import pytest

from gen_msa.cues.syntax import SyntaxCues, SyntaxOptions
from gen_msa.data import open_examples
from gen_msa.types import Example, Polarity

needs_data = pytest.mark.skipif(
    not os.environ.get("GEN_MSA_DATA"), reason="GEN_MSA_DATA is not set"
)


@needs_data
@pytest.mark.parametrize(
    ("corpus", "source"),
    [
        pytest.param("mams:dev", "spacy", marks=pytest.mark.models),
        ("semeval14_restaurants:train", "heads:stanza"),
        ("semeval14_laptops:train", "heads:stanza"),
    ],
)
def test_cues_of_opposite_aspects_differ_in_95_percent_of_sentences(
    corpus: str, source: str
) -> None:
    pairs = []
    for e in open_examples(corpus).rows():
        if isinstance(e, Example):
            gold = {o.aspect: o.polarity for o in e.opinions_by("gold")}
            negative = [a for a, p in gold.items() if p is Polarity.NEGATIVE]
            positive = [a for a, p in gold.items() if p is Polarity.POSITIVE]
            if negative and positive:
                pairs.append((e.post, list(product(negative, positive))))
    cues_per_post = SyntaxCues(SyntaxOptions()).cues([p for p, _ in pairs])
    assert {c.source for cues in cues_per_post for c in cues} == {source}
    n_different = 0
    for (post, opposite), cues in zip(pairs, cues_per_post, strict=True):
        text = {a: c.text for a, c in zip(post.aspects, cues, strict=True)}
        n_different += all(text[a] != text[b] for a, b in opposite)
    assert len(pairs) > 40
    assert n_different / len(pairs) >= 0.95
