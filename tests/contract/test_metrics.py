"""What every family of figures must do, whoever wrote it."""

from typing import Any

import numpy
import pytest

from gen_msa.errors import MissingExtra, UserError
from gen_msa.metrics import Metric, Pair, Undefined, Whole, metrics
from gen_msa.types import Aspect, Evidence, Opinion, Polarity, Post

MODELS = {"bertscore"}
"""Families that load weights."""
DIVIDED: dict[str, set[str]] = {
    "copying": {"post", "post_longest", "prompt", "prompt_longest"},
    "grounding": {"precision", "text", "picture", "both", "nowhere", "claims"},
    "intensity": {"mae", "pearson"},
    "naming": {"named", "rival"},
    "quoting": {"verbatim", "quoting", "quotes"},
    "wording": {"length", "length_sd", "cut", "distinct_1", "distinct_2", "duplicate", "template"},
}
"""Figures by what only some scored rows have (claims, quotes, both scores), and NaN without any;
of any other family such a figure says "undefined" in its `about`."""
TEXT = "The soup is great but the bread is cold, says the waiter"
TERMS = ("soup", "bread", "waiter")
REASONS = (
    'The writer calls the soup "great", so they are happy with it.',
    "Cold bread disappoints, and the photo shows an empty plate.",
    "Nothing is felt about the waiter here.",
    "",
)


def opinion(by: str, term: str, k: int) -> Opinion:
    """Opinion number `k` of a reader: everything that any family looks at is there."""
    sure = 0.4 + 0.05 * (k % 10)
    chosen = list(Polarity)[k % 3]
    quote = "great" if k % 2 else "not there"
    return Opinion(
        by=by,
        aspect=Aspect(term=term, start=TEXT.index(term)),
        polarity=chosen,
        score=(k % 13 - 6) / 2,
        probs={p: sure if p is chosen else (1 - sure) / 2 for p in Polarity},
        explanation=REASONS[k % 4] or None,
        evidence=(Evidence(quote=quote, start=TEXT.find(quote) if k % 2 else None),),
    )


def pair(k: int, *, gold: bool = True, said: bool = True) -> Pair:
    """Row number `k`; three rows make a post, and two posts share a picture."""
    post = Post(
        id=str(k // 3),
        text=TEXT,
        aspects=tuple(Aspect(term=t, start=TEXT.index(t)) for t in TERMS),
        meta={"caption": "A bowl of soup."},
    )
    return Pair(
        post=post,
        gold=opinion("gold", TERMS[k % 3], k * 5 % 11) if gold else None,
        said=opinion("reader", TERMS[k % 3], k * 7 % 12) if said else None,
        cluster=f"{k // 6}.jpg",
        shown={"prompt": "Explain the sentiment.", "caption": "A bowl of soup.", "objects": "bowl"},
    )


def unread(k: int) -> Pair:
    """The reader answered, and nothing could be read."""
    gold = opinion("gold", TERMS[k % 3], k)
    post = Post(id=f"unread {k}", text=TEXT)
    return Pair(post, gold, Opinion(by="reader", aspect=gold.aspect, raw="?"), f"{k}.jpg")


def bare(k: int) -> Pair:
    """Gold says nothing but that there is an aspect."""
    aspect = Aspect(term="soup", start=4)
    gold = Opinion(by="gold", aspect=aspect)
    return Pair(Post(id=f"bare {k}", text=TEXT), gold, None, f"{k}.jpg")


ROWS = [pair(k) for k in range(30)]
SPECIAL = [
    pair(31, said=False),
    pair(34, gold=False),
    unread(40),
    bare(41),
    Pair(Post(id="empty", text=""), Opinion(by="gold"), Opinion(by="reader"), "empty.jpg"),
]
ALL = [*ROWS, *SPECIAL]


@pytest.fixture(
    params=[
        pytest.param(n, marks=pytest.mark.models if n in MODELS else ()) for n in metrics.names()
    ]
)
def family(request: pytest.FixtureRequest) -> Metric | Whole:
    try:
        return metrics[request.param]()
    except MissingExtra as e:
        pytest.skip(str(e))


def figures(family: Metric | Whole, pairs: list[Pair]) -> dict[str, float]:
    """Every figure of the pairs, whichever kind of family it is."""
    if hasattr(family, "measure"):
        return family.measure(pairs)
    return {k: float(v) for k, v in family.values(family.rows(pairs).sum(axis=0)).items()}


def additive(family: Metric | Whole) -> Metric:
    if hasattr(family, "measure"):
        pytest.skip("its figures are no sums over rows")
    return family


def same(figures: dict[str, float]) -> Any:
    return pytest.approx(figures, nan_ok=True, rel=1e-6, abs=1e-9)


def test_every_figure_says_what_it_is_and_has_a_value_in_the_order_printed(family):
    names = [f.name for f in family.figures]
    assert names
    assert len(set(names)) == len(names)
    assert all(
        f.name.isidentifier() and f.about and f.better in {"high", "low", ""}
        for f in family.figures
    )
    assert family.signature
    assert set(figures(family, ALL)) == set(names)


def test_an_unknown_option_is_refused_with_its_name(family):
    with pytest.raises(UserError, match="no_such_option"):
        type(family)(no_such_option=1)


def test_the_order_of_rows_does_not_matter(family):
    order = numpy.random.default_rng(0).permutation(len(ALL))
    assert figures(family, [ALL[i] for i in order]) == same(figures(family, ALL))


def test_the_same_rows_have_the_same_figures_again_and_are_left_as_they_were(family):
    before = repr(ALL)
    first = figures(family, ALL)
    assert repr(ALL) == before
    assert figures(family, ALL) == same(first)


def test_shares_lie_between_0_and_1(family):
    shares = {f.name for f in family.figures if f.unit == "share"}
    got = figures(family, ALL)
    assert all(-1e-9 <= got[n] <= 1 + 1e-9 for n in shares if not numpy.isnan(got[n]))


def test_nothing_at_all_is_undefined_and_says_so(family):
    with pytest.raises(Undefined) as told:
        figures(family, [])
    assert str(told.value)


@pytest.mark.parametrize(
    "pairs",
    [
        *([one] for one in (ROWS[0], *SPECIAL)),
        [p for p in ROWS if p.truth is Polarity.POSITIVE],
        ROWS + ROWS,
        [pair(k, said=False) for k in range(3)],
        [pair(k, gold=False) for k in range(3)],
    ],
    ids=[
        *("one row", "silent", "beside", "unread", "bare", "empty post"),
        *("one class", "duplicate ids", "all silent", "all beside"),
    ],
)
def test_odd_rows_have_figures_or_a_reason(family, pairs):
    try:
        got = figures(family, pairs)
    except Undefined as e:
        assert str(e)  # noqa: PT017  # a reason is as good an answer as figures
        return
    assert set(got) == {f.name for f in family.figures}
    known = DIVIDED.get(type(family).__module__.rpartition(".")[2], set())
    known = known | {f.name for f in family.figures if "undefined" in f.about}
    assert {n for n, v in got.items() if numpy.isnan(v)} <= known
    assert not any(numpy.isinf(v) for v in got.values())


def test_column_0_says_which_rows_are_scored_and_the_others_count_nothing(family):
    rows = additive(family).rows(ALL)
    assert rows.dtype == numpy.float64
    assert rows.shape[0] == len(ALL)
    assert numpy.isfinite(rows).all()
    assert set(rows[:, 0]) <= {0, 1}
    assert rows[:, 0].any()
    assert not rows[rows[:, 0] == 0].any()


def test_values_of_many_sums_are_those_of_each(family):
    family = additive(family)
    rows = family.rows(ALL)
    drawn = numpy.random.default_rng(1).integers(0, 4, size=(2, 3, len(ALL)))
    sums = drawn.astype(float) @ rows
    kept = sums.copy()
    together = family.values(sums)
    assert numpy.array_equal(sums, kept)
    for i, j in numpy.ndindex(2, 3):
        alone = {k: float(v) for k, v in family.values(sums[i, j]).items()}
        assert {k: float(v[i, j]) for k, v in together.items()} == same(alone)
    assert all(v.shape == (2, 3) for v in together.values())


def test_no_rows_drawn_is_nan_and_not_an_error_nor_a_warning(family, recwarn):
    family = additive(family)
    got = family.values(numpy.zeros((2, family.rows(ALL).shape[1])))
    assert all(numpy.isnan(v).all() for v in got.values())
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_rows_that_are_not_scored_change_nothing(family):
    family = additive(family)
    rows = family.rows(ALL)
    assert {
        k: float(v) for k, v in family.values(rows[rows[:, 0] == 1].sum(axis=0)).items()
    } == same(figures(family, ALL))
