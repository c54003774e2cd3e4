"""Normalization, and similar texts: the index finds exactly what exhaustive comparison finds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.evaluation.near_duplicates import ShingleIndex, has_words, jaccard, normalize, shingles

TEXTS = st.lists(st.sampled_from(list("abcdef")), min_size=0, max_size=14).map(" ".join)


@pytest.mark.parametrize(
    "copy",
    [
        "@ann The PHONE is great &amp; cheap https://t.co/a1",
        "@bob  the phone\tis great & cheap http://example.org/x?y=1\n",
        "@ carl The ｐｈｏｎｅ is great & cheap www.example.org",
        "@dora the pho\u200bne is great & cheap https://t.co/zz",
    ],
)
def test_normalize_maps_copies_to_one_text(copy: str) -> None:
    assert normalize(copy) == "@user the phone is great & cheap url"


def test_normalize_is_idempotent_and_keeps_masked_target() -> None:
    normalized = normalize("RT @ann: I love $T$ ! http://t.co/1")
    assert normalized == "rt @user: i love $t$ ! url"
    assert normalize(normalized) == normalized


@pytest.mark.parametrize(
    ("text", "expected"), [("@user url", False), ("rt @user: $t$", False), ("@user ok", True)]
)
def test_mentions_and_links_alone_are_not_words(text: str, expected: bool) -> None:
    assert has_words(text) is expected


def test_short_text_has_no_shingles() -> None:
    assert shingles("this is the best day") == frozenset()
    assert len(shingles("this is the best day ever")) == 4


@given(
    st.lists(TEXTS, max_size=8), TEXTS, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.data()
)
def test_nearest_equals_exhaustive_comparison(
    texts: list[str], query: str, threshold: float, data: st.DataObject
) -> None:
    sets = [shingles(t) for t in texts]
    query_shingles = shingles(query)
    excluded = data.draw(st.sets(st.integers(0, 7)))
    candidates = [
        (-jaccard(query_shingles, s), position)
        for position, s in enumerate(sets)
        if query_shingles
        and s
        and jaccard(query_shingles, s) >= threshold
        and position not in excluded
    ]
    match = ShingleIndex(sets, threshold).nearest(query_shingles, excluded=excluded)
    if not candidates:
        assert match is None
    else:
        assert match is not None
        assert (-match.jaccard, match.position) == min(candidates)
        assert match.n_similar == len(candidates)


def test_shingle_index_rejects_threshold_out_of_range() -> None:
    with pytest.raises(ValueError, match="threshold"):
        ShingleIndex([], 0.0)


def test_nearest_finds_one_changed_word_among_thousands() -> None:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(5_000)]
    common = [1 / (i + 3) for i in range(5_000)]
    texts = [" ".join(rng.choices(words, common, k=18)) for _ in range(3_000)]
    index = ShingleIndex([shingles(t) for t in texts], 0.5)
    changed_texts = [[*t.split()[:9], "new", *t.split()[10:]] for t in texts[:300]]
    matches = [index.nearest(shingles(" ".join(t))) for t in changed_texts]
    assert [f.position for f in matches if f] == list(range(300))
