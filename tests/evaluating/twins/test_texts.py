"""Folding, and near texts: the index finds exactly what comparing all with all finds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.evaluating.twins.texts import (
    Index,
    fold,
    jaccard,
    says_something,
    shingles,
)

WORDS = st.lists(st.sampled_from(list("abcdef")), min_size=0, max_size=14).map(" ".join)


@pytest.mark.parametrize(
    "copy",
    [
        "@ann The PHONE is great &amp; cheap https://t.co/a1",
        "@bob  the phone\tis great & cheap http://example.org/x?y=1\n",
        "@ carl The ｐｈｏｎｅ is great & cheap www.example.org",
        "@dora the pho\u200bne is great & cheap https://t.co/zz",
    ],
)
def test_copies_fold_to_the_same_text(copy: str) -> None:
    assert fold(copy) == "@user the phone is great & cheap url"


def test_folding_twice_changes_nothing_and_a_masked_target_stays() -> None:
    once = fold("RT @ann: I love $T$ ! http://t.co/1")
    assert once == "rt @user: i love $t$ ! url"
    assert fold(once) == once


@pytest.mark.parametrize(
    ("text", "expected"), [("@user url", False), ("rt @user: $t$", False), ("@user ok", True)]
)
def test_mentions_and_links_alone_say_nothing(text: str, expected: bool) -> None:
    assert says_something(text) is expected


def test_a_text_of_few_words_has_no_shingles() -> None:
    assert shingles("this is the best day") == frozenset()
    assert len(shingles("this is the best day ever")) == 4


@given(
    st.lists(WORDS, max_size=8), WORDS, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.data()
)
def test_nearest_equals_comparing_with_all(
    texts: list[str], asked: str, least: float, data: st.DataObject
) -> None:
    sets = [shingles(t) for t in texts]
    one = shingles(asked)
    passed = data.draw(st.sets(st.integers(0, 7)))
    near = [
        (-jaccard(one, s), at)
        for at, s in enumerate(sets)
        if one and s and jaccard(one, s) >= least and at not in passed
    ]
    found = Index(sets, least).nearest(one, besides=passed)
    if not near:
        assert found is None
    else:
        assert found is not None
        assert (-found.jaccard, found.at) == min(near)
        assert found.among == len(near)


def test_a_threshold_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        Index([], 0.0)


def test_one_changed_word_in_eighteen_is_found_among_thousands() -> None:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(5_000)]
    common = [1 / (i + 3) for i in range(5_000)]
    texts = [" ".join(rng.choices(words, common, k=18)) for _ in range(3_000)]
    index = Index([shingles(t) for t in texts], 0.5)
    changed = [[*t.split()[:9], "new", *t.split()[10:]] for t in texts[:300]]
    found = [index.nearest(shingles(" ".join(t))) for t in changed]
    assert [f.at for f in found if f] == list(range(300))
