"""Metrics of a judge's ratings, and its agreement with people.

Means with cluster-robust intervals, rates of unparsed answers, and agreement with human ratings.
Every metric of a criterion without human ratings is noted as `uncalibrated`.

    pointwise_metrics(judgements)["focus"].note                # 'uncalibrated'
    pairwise_metrics(pairwise_judgements)["swap_agreement"].value
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path

from pydantic import Field

from gen_msa import jsonl
from gen_msa.errors import UserError
from gen_msa.evaluation.llm_judge.judge import Judgement, Rating
from gen_msa.evaluation.llm_judge.pairwise import PairwiseJudgement
from gen_msa.metrics.statistics.agreement import krippendorff, weighted_kappa
from gen_msa.metrics.statistics.intervals import SHARE, UNBOUNDED, Bounds, mean_interval
from gen_msa.results import MetricValue
from gen_msa.types import FrozenModel, Rejected, Status


class HumanRating(FrozenModel):
    """One rater's ratings of one explanation."""

    post: str
    aspect: str = ""
    start: int | None = None
    annotator: str = ""
    rater: str = "human"
    scores: dict[str, int] = Field(min_length=1)
    """Criterion -> rating, on the judge's scale."""

    def matches(self, post: str, aspect: str, start: int | None, annotator: str) -> bool:
        """Return whether these ratings are about the given explanation.

        Args:
            post: Id of the post.
            aspect: Term of the aspect.
            start: Its offset; ignored if the rating has none.
            annotator: Who wrote the explanation; ignored if the rating names no annotator.
        """
        same = (self.post, self.aspect) == (post, aspect) and self.annotator in ("", annotator)
        return same and (self.start is None or self.start == start)


def read_human_ratings(path: Path) -> list[HumanRating]:
    """Read every line of a file of human ratings (JSON lines).

    Raises:
        UserError: The file does not exist, or a line is invalid.
    """
    if not path.is_file():
        raise UserError(f"there is no file of human ratings at {path}")
    ratings: list[HumanRating] = []
    for row in jsonl.read(path, HumanRating):
        if isinstance(row, Rejected):
            raise UserError(f"{row.file}:{row.line}: {row.reason}", hint=row.hint)
        ratings.append(row)
    return ratings


UNCALIBRATED = "uncalibrated"


def pointwise_metrics(
    judgements: Sequence[Judgement], human_ratings: Sequence[HumanRating] = ()
) -> dict[str, MetricValue]:
    """Compute the metrics of one system's explanations.

    For each criterion the mean rating (1 to 5), and with human ratings `kappa.CRITERION` (quadratic
    weights, judge against the mean of the raters, both rounded) and `alpha.CRITERION`
    (Krippendorff, ordinal, the judge as one more rater). `explained`: rows with an explanation.
    `unparsed`: answers of the judge that could not be parsed, of those requested. `failed`:
    questions that the backend did not answer.

    Args:
        judgements: The judgements of one system.
        human_ratings: Ratings of the same explanations by people.

    Returns:
        Metric -> value.
    """
    rated_rows = [(j.cluster, m) for j in judgements for m in j.ratings.values()]
    sent_rows = [(cluster, m) for cluster, m in rated_rows if m.was_sent]
    metrics: dict[str, MetricValue] = {}
    agreements: dict[str, MetricValue] = {}
    for name in dict.fromkeys(name for j in judgements for name in j.ratings):
        agreement = _human_agreement(name, judgements, human_ratings)
        agreements |= agreement
        metrics[name] = _mean_rating(name, judgements, _calibration_note(agreement))
    note = UNCALIBRATED if not agreements else ""
    return {
        **metrics,
        **agreements,
        "explained": _share_value(((c, m.was_sent) for c, m in rated_rows), note),
        "unparsed": _share_value(
            ((c, m.status not in (Status.OK, Status.ERROR)) for c, m in sent_rows), note
        ),
        "failed": _share_value(((c, m.status is Status.ERROR) for c, m in sent_rows), note),
    }


def pairwise_metrics(judgements: Sequence[PairwiseJudgement]) -> dict[str, MetricValue]:
    """Compute the metrics of pairwise judgements.

    `a`, `b`, `tie` and `unparsed`: shares of rows, which sum to 1. `swap_agreement`: rows parsed in
    both orders in which both choose the same system. `first`: answers that choose the explanation
    shown first, of answers that choose one; 0.5 for a judge without position bias. `failed`:
    answers that the backend did not give.
    """
    readable = [d for d in judgements if d.winner != "unparsed"]
    ratings = [(d.cluster, m) for d in judgements for m in (d.a_first, d.b_first)]
    outcomes = {
        name: _share_value(((d.cluster, d.winner == name) for d in judgements), UNCALIBRATED)
        for name in ("a", "b", "tie", "unparsed")
    }
    agreeing = ((d.cluster, d.choices[0] == d.choices[1]) for d in readable)
    first_choices = ((c, m.choice == "A") for c, m in ratings if m.choice in ("A", "B"))
    failed = ((c, m.status is Status.ERROR) for c, m in ratings)
    return {
        **outcomes,
        "swap_agreement": _share_value(agreeing, UNCALIBRATED),
        "first": _share_value(first_choices, UNCALIBRATED),
        "failed": _share_value(failed, UNCALIBRATED),
    }


def _calibration_note(agreement: Mapping[str, MetricValue]) -> str:
    if not agreement:
        return UNCALIBRATED
    return "; ".join(
        f"{name.partition('.')[0]} {'undefined' if v.value is None else f'{v.value:.2f}'}"
        f" with human raters on {v.n} rows"
        for name, v in agreement.items()
    )


def _mean_rating(name: str, judgements: Sequence[Judgement], note: str) -> MetricValue:
    rated = [(j.cluster, j.ratings[name]) for j in judgements if name in j.ratings]
    scored = [(c, m.score) for c, m in rated if m.score is not None]
    expected = sum(m.probs is not None for _, m in rated)
    method = f"expected over probabilities in {expected} of {len(scored)}" if scored else ""
    return _mean_value(scored, "; ".join(filter(None, [method, note])))


def _human_agreement(
    name: str, judgements: Sequence[Judgement], human_ratings: Sequence[HumanRating]
) -> dict[str, MetricValue]:
    """Return kappa and alpha of one criterion; nothing without a human rating of a judged row."""
    comparable: list[tuple[float, dict[str, float]]] = []
    with_criterion = [h for h in human_ratings if name in h.scores]
    by_post: dict[str, list[HumanRating]] = {}
    for h in with_criterion:
        by_post.setdefault(h.post, []).append(h)
    for j in judgements:
        rating = j.ratings.get(name, Rating(status=Status.EMPTY, prompt=""))
        human_scores = {
            h.rater: float(h.scores[name])
            for h in by_post.get(j.post, ())
            if h.matches(j.post, j.aspect, j.start, j.annotator)
        }
        if human_scores and rating.score is not None:
            comparable.append((float(round(rating.score)), human_scores))
    if not comparable:
        return {}
    human_means = [
        float(round(sum(human_scores.values()) / len(human_scores)))
        for _, human_scores in comparable
    ]
    raters = sorted({rater for _, human_scores in comparable for rater in human_scores})
    table = [[human_scores.get(rater) for _, human_scores in comparable] for rater in raters]
    kappa = weighted_kappa([score for score, _ in comparable], human_means)
    alpha = krippendorff([[score for score, _ in comparable], *table])
    return {
        f"kappa.{name}": _agreement_value(kappa, len(comparable), "quadratic weights"),
        f"alpha.{name}": _agreement_value(
            alpha, len(comparable), f"ordinal; {len(raters)} raters and the judge"
        ),
    }


def _agreement_value(value: float | None, n: int, note: str) -> MetricValue:
    undefined = "" if value is not None else "undefined: all ratings are the same; "
    return MetricValue(value=value, n=n, note=undefined + note)


def _share_value(rows: Iterable[tuple[str, bool]], note: str) -> MetricValue:
    return _mean_value([(cluster, float(hit)) for cluster, hit in rows], note, bounds=SHARE)


def _mean_value(
    rows: Sequence[tuple[str, float]], note: str, bounds: Bounds = UNBOUNDED
) -> MetricValue:
    """Return the mean with an interval that is robust to dependence within clusters."""
    if not rows:
        return MetricValue(
            value=None, n=0, note="; ".join(filter(None, ["undefined: no row", note]))
        )
    values, clusters = [x for _, x in rows], [c for c, _ in rows]
    value = MetricValue(value=sum(values) / len(values), n=len(values), note=note)
    interval = mean_interval(values, clusters, bounds=bounds)
    if isnan(interval.low):
        note = "; ".join(filter(None, [interval.note, note]))
        return value.model_copy(update={"note": note})
    return value.model_copy(
        update={"low": interval.low, "high": interval.high, "method": interval.method}
    )
