"""Summary of a filtered job: acceptance by filter, agreement with gold, tokens, time, cost.

Written beside the output as OUT.summary.json. Counts cover everything in the output and the
rejected file, including answers of earlier runs; `seconds` covers the last run alone.

    AnnotationSummary.model_validate_json(path.read_text()).filters["length"].acceptance
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from gen_msa.annotation.filtered import FilterCounts, LabelPairCounts
from gen_msa.annotation.settings import AnnotateSettings
from gen_msa.types import FrozenModel, Polarity


class FilterCount(FrozenModel):
    """What one filter did."""

    checked: int
    """Answers it checked; model and file filters see only what earlier stages passed."""
    rejected: int
    acceptance: float | None
    """1 - rejected / checked; None if nothing was checked."""


class GoldAgreement(FrozenModel):
    """Agreement of labels with gold, on rows where both have a label."""

    n: int
    accuracy: float
    kappa: float | None
    """Cohen's kappa (1960), unweighted; None if both always give the same single label."""
    confusion: dict[str, dict[str, int]]
    """Gold label -> predicted label -> rows."""


class AnnotationSummary(FrozenModel):
    """The counts of a filtered job."""

    data: str
    data_sha256: str
    model: str
    posts: int
    rejected_rows: int
    """Rows of the source that could not be read."""
    images: dict[str, int] = Field(default_factory=dict)
    """Images of the posts: `seen`, or why the model did not see them."""
    unused: dict[str, int] = Field(default_factory=dict)
    """What of the input was not used: `row`, `image`, `column`, `label`, … -> number."""
    notes: tuple[str, ...] = ()
    """What of the source was guessed or not used, as text."""
    questions: int
    accepted: int
    excluded: int
    """Questions without an accepted answer."""
    unanswered: int
    answers: int
    retried: int
    """Questions accepted after a retry."""
    filters: dict[str, FilterCount]
    first_answers: GoldAgreement | None
    """Before filters and retries; None without gold."""
    accepted_answers: GoldAgreement | None
    guided: bool
    """Gold gave the labels, so that agreement with it means nothing."""
    label_fields: int
    """Label fields in explanations and contexts of rows outside a train split."""
    prompt_tokens: int | None
    """None: the model does not count tokens."""
    answer_tokens: int | None
    answers_with_token_counts: int
    """Number of answers that the token counts cover."""
    seconds: float
    cached_posts: int
    """Posts answered from the cache: by an earlier run, or by the cost estimate."""
    cost: float | None
    """None without prices or token counts."""

    @property
    def acceptance(self) -> float:
        """Share of questions with an accepted answer."""
        return self.accepted / self.questions if self.questions else 0.0


def gold_agreement(cells: LabelPairCounts) -> GoldAgreement | None:
    """Return accuracy, kappa and confusion of (gold, predicted) counts; None for no row."""
    n = sum(cells.values())
    if not n:
        return None
    accuracy = sum(cells[p, p] for p in Polarity) / n
    gold = {p: sum(cells[p, q] for q in Polarity) / n for p in Polarity}
    predicted = {p: sum(cells[q, p] for q in Polarity) / n for p in Polarity}
    chance = sum(gold[p] * predicted[p] for p in Polarity)
    table = {str(p): {str(q): cells[p, q] for q in Polarity} for p in Polarity}
    kappa = (accuracy - chance) / (1 - chance) if chance < 1 else None
    return GoldAgreement(n=n, accuracy=accuracy, kappa=kappa, confusion=table)


def count_by_filter(tally: FilterCounts, names: list[str]) -> dict[str, FilterCount]:
    """Return the counts of each filter in `names`, in that order.

    Args:
        tally: Counts of the answers.
        names: The filters.
    """
    return {
        name: FilterCount(
            checked=tally.checked[name],
            rejected=tally.rejected[name],
            acceptance=1 - tally.rejected[name] / tally.checked[name]
            if tally.checked[name]
            else None,
        )
        for name in names
    }


def summarise(
    settings: AnnotateSettings, tally: FilterCounts, job_facts: Mapping[str, Any]
) -> AnnotationSummary:
    """Return the summary of a job.

    Args:
        settings: The job.
        tally: Counts of the answers.
        job_facts: The fields of `AnnotationSummary` that the counts do not give.
    """
    has_token_counts = tally.with_token_counts > 0
    cost = (
        settings.prices.cost(tally.prompt_tokens, tally.answer_tokens)
        if settings.prices and has_token_counts
        else None
    )
    return AnnotationSummary.model_validate(
        {
            **job_facts,
            "model": settings.model,
            **{k: getattr(tally, k) for k in ("questions", "accepted", "excluded", "unanswered")},
            "answers": tally.answers,
            "retried": tally.retried,
            "filters": count_by_filter(tally, ["answer", *settings.filters]),
            "first_answers": gold_agreement(tally.first_labels),
            "accepted_answers": gold_agreement(tally.accepted_labels),
            "guided": settings.reveals_label,
            "prompt_tokens": tally.prompt_tokens if has_token_counts else None,
            "answer_tokens": tally.answer_tokens if has_token_counts else None,
            "answers_with_token_counts": tally.with_token_counts,
            "cost": cost,
        }
    )
