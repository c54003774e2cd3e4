"""Test what every metric family must do."""

from typing import Any

import numpy
import pytest

from gen_msa.errors import MissingExtra, UserError
from gen_msa.metrics import CorpusMetric, Metric, Pair, UndefinedMetric, metrics
from gen_msa.types import Aspect, Evidence, Opinion, Polarity, Post

MODEL_METRICS = {"bertscore"}
"""Families that load weights."""
MAY_BE_NAN: dict[str, set[str]] = {
    "copying": {"post", "post_longest", "prompt", "prompt_longest"},
    "grounding": {"precision", "text", "image", "both", "unsupported", "claims"},
    "intensity": {"mae", "pearson"},
    "aspect_mention": {"named", "rival"},
    "quote_fidelity": {"verbatim", "quote_rate", "quotes"},
    "text_stats": {
        *("length", "length_sd", "truncated", "distinct_1", "distinct_2", "duplicate", "template")
    },
}
"""Metrics of what only some scored rows have (claims, quotes, both scores), NaN without any; in any
other family the `about` of such a metric says "undefined"."""
TEXT = "The soup is great but the bread is cold, says the waiter"
TERMS = ("soup", "bread", "waiter")
EXPLANATIONS = (
    'The writer calls the soup "great", so they are happy with it.',
    "Cold bread disappoints, and the photo shows an empty plate.",
    "Nothing is felt about the waiter here.",
    "",
)


def opinion(annotator: str, term: str, k: int) -> Opinion:
    """Return opinion number `k` of an annotator, with every field that a family uses."""
    confidence = 0.4 + 0.05 * (k % 10)
    label = list(Polarity)[k % 3]
    quote = "great" if k % 2 else "not there"
    return Opinion(
        annotator=annotator,
        aspect=Aspect(term=term, start=TEXT.index(term)),
        polarity=label,
        score=(k % 13 - 6) / 2,
        probs={p: confidence if p is label else (1 - confidence) / 2 for p in Polarity},
        explanation=EXPLANATIONS[k % 4] or None,
        evidence=(Evidence(quote=quote, start=TEXT.find(quote) if k % 2 else None),),
    )


def pair(k: int, *, has_gold: bool = True, has_prediction: bool = True) -> Pair:
    """Return row number `k`; three rows are a post, and two posts share an image."""
    post = Post(
        id=str(k // 3),
        text=TEXT,
        aspects=tuple(Aspect(term=t, start=TEXT.index(t)) for t in TERMS),
        meta={"caption": "A bowl of soup."},
    )
    return Pair(
        post=post,
        gold=opinion("gold", TERMS[k % 3], k * 5 % 11) if has_gold else None,
        prediction=opinion("system", TERMS[k % 3], k * 7 % 12) if has_prediction else None,
        cluster=f"{k // 6}.jpg",
        extra_inputs={
            "prompt": "Explain the sentiment.",
            "caption": "A bowl of soup.",
            "objects": "bowl",
        },
    )


def unparsed_pair(k: int) -> Pair:
    """Return a row whose answer could not be parsed."""
    gold = opinion("gold", TERMS[k % 3], k)
    post = Post(id=f"unparsed {k}", text=TEXT)
    return Pair(post, gold, Opinion(annotator="system", aspect=gold.aspect, raw="?"), f"{k}.jpg")


def unlabelled_pair(k: int) -> Pair:
    """Gold says nothing but that there is an aspect."""
    aspect = Aspect(term="soup", start=4)
    gold = Opinion(annotator="gold", aspect=aspect)
    return Pair(Post(id=f"bare {k}", text=TEXT), gold, None, f"{k}.jpg")


ROWS = [pair(k) for k in range(30)]
SPECIAL = [
    pair(31, has_prediction=False),
    pair(34, has_gold=False),
    unparsed_pair(40),
    unlabelled_pair(41),
    Pair(
        Post(id="empty", text=""),
        Opinion(annotator="gold"),
        Opinion(annotator="system"),
        "empty.jpg",
    ),
]
ALL = [*ROWS, *SPECIAL]


@pytest.fixture(
    params=[
        pytest.param(n, marks=pytest.mark.models if n in MODEL_METRICS else ())
        for n in metrics.names()
    ]
)
def metric(request: pytest.FixtureRequest) -> Metric | CorpusMetric:
    try:
        return metrics[request.param]()
    except MissingExtra as e:
        pytest.skip(str(e))


def metric_values(metric: Metric | CorpusMetric, pairs: list[Pair]) -> dict[str, float]:
    """Every figure of the pairs, whichever kind of family it is."""
    if hasattr(metric, "measure"):
        return metric.measure(pairs)
    return {
        k: float(v) for k, v in metric.compute(metric.row_statistics(pairs).sum(axis=0)).items()
    }


def require_additive(metric: Metric | CorpusMetric) -> Metric:
    if hasattr(metric, "measure"):
        pytest.skip("its metrics are not sums over rows")
    return metric


def approx_values(values: dict[str, float]) -> Any:
    return pytest.approx(values, nan_ok=True, rel=1e-6, abs=1e-9)


def test_metric_specs_match_the_returned_values(metric):
    names = [f.name for f in metric.specs]
    assert names
    assert len(set(names)) == len(names)
    assert all(
        f.name.isidentifier() and f.about and f.better in {"high", "low", ""} for f in metric.specs
    )
    assert metric.signature
    assert set(metric_values(metric, ALL)) == set(names)


def test_unknown_option_is_rejected_by_name(metric):
    with pytest.raises(UserError, match="no_such_option"):
        type(metric)(no_such_option=1)


def test_row_order_does_not_matter(metric):
    order = numpy.random.default_rng(0).permutation(len(ALL))
    assert metric_values(metric, [ALL[i] for i in order]) == approx_values(
        metric_values(metric, ALL)
    )


def test_metric_is_deterministic_and_keeps_rows(metric):
    before = repr(ALL)
    first = metric_values(metric, ALL)
    assert repr(ALL) == before
    assert metric_values(metric, ALL) == approx_values(first)


def test_shares_are_between_0_and_1(metric):
    shares = {f.name for f in metric.specs if f.unit == "share"}
    values = metric_values(metric, ALL)
    assert all(-1e-9 <= values[n] <= 1 + 1e-9 for n in shares if not numpy.isnan(values[n]))


def test_no_rows_raise_undefined_metric(metric):
    with pytest.raises(UndefinedMetric) as error:
        metric_values(metric, [])
    assert str(error.value)


@pytest.mark.parametrize(
    "pairs",
    [
        *([one] for one in (ROWS[0], *SPECIAL)),
        [p for p in ROWS if p.label is Polarity.POSITIVE],
        ROWS + ROWS,
        [pair(k, has_prediction=False) for k in range(3)],
        [pair(k, has_gold=False) for k in range(3)],
    ],
    ids=[
        *("one row", "no prediction", "spurious", "unparsed", "bare", "empty post"),
        *("one class", "duplicate ids", "no predictions", "all spurious"),
    ],
)
def test_unusual_rows_give_values_or_undefined_metric(metric, pairs):
    try:
        values = metric_values(metric, pairs)
    except UndefinedMetric as e:
        assert str(e)  # noqa: PT017  # a message is as good as metrics
        return
    assert set(values) == {f.name for f in metric.specs}
    may_be_nan = MAY_BE_NAN.get(type(metric).__module__.rpartition(".")[2], set())
    may_be_nan = may_be_nan | {f.name for f in metric.specs if "undefined" in f.about}
    assert {n for n, v in values.items() if numpy.isnan(v)} <= may_be_nan
    assert not any(numpy.isinf(v) for v in values.values())


def test_column_0_marks_the_scored_rows(metric):
    rows = require_additive(metric).row_statistics(ALL)
    assert rows.dtype == numpy.float64
    assert rows.shape[0] == len(ALL)
    assert numpy.isfinite(rows).all()
    assert set(rows[:, 0]) <= {0, 1}
    assert rows[:, 0].any()
    assert not rows[rows[:, 0] == 0].any()


def test_values_of_stacked_sums_match_single_sums(metric):
    metric = require_additive(metric)
    rows = metric.row_statistics(ALL)
    counts = numpy.random.default_rng(1).integers(0, 4, size=(2, 3, len(ALL)))
    sums = counts.astype(float) @ rows
    sums_before = sums.copy()
    batched = metric.compute(sums)
    assert numpy.array_equal(sums, sums_before)
    for i, j in numpy.ndindex(2, 3):
        single = {k: float(v) for k, v in metric.compute(sums[i, j]).items()}
        assert {k: float(v[i, j]) for k, v in batched.items()} == approx_values(single)
    assert all(v.shape == (2, 3) for v in batched.values())


def test_zero_sums_give_nan_without_warning(metric, recwarn):
    metric = require_additive(metric)
    values = metric.compute(numpy.zeros((2, metric.row_statistics(ALL).shape[1])))
    assert all(numpy.isnan(v).all() for v in values.values())
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_unscored_rows_change_nothing(metric):
    metric = require_additive(metric)
    rows = metric.row_statistics(ALL)
    assert {
        k: float(v) for k, v in metric.compute(rows[rows[:, 0] == 1].sum(axis=0)).items()
    } == approx_values(metric_values(metric, ALL))
