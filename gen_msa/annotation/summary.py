"""What a gated job came to: acceptance by gate, agreement with gold, tokens, time, money.

Written beside the output as OUT.summary.json. Counts are of all that stands in the output and the
rejected file, answers of earlier runs included; `seconds` is of the last run alone. Knows nothing
of how a summary is shown.

    Summary.model_validate_json(Path("out.summary.json").read_text()).gates["length"].acceptance
"""

from collections.abc import Mapping

from gen_msa.annotation.filtered import FilterCounts, LabelPairCounts
from gen_msa.annotation.settings import AnnotateSettings
from gen_msa.types import FrozenModel, Polarity


class FilterCount(FrozenModel):
    """One gate's work."""

    checked: int
    """Answers it looked at; gates that ask or look at the file see what the others let pass."""
    rejected: int
    acceptance: float | None
    """1 - refused / shown; None where it was shown nothing."""


class GoldAgreement(FrozenModel):
    """Labels against gold, where both have one."""

    n: int
    accuracy: float
    kappa: float | None
    """Cohen's (1960), unweighted; None where both always say the same one label."""
    confusion: dict[str, dict[str, int]]
    """Gold -> said -> rows."""


class AnnotationSummary(FrozenModel):
    """A gated job in figures."""

    data: str
    data_sha256: str
    model: str
    posts: int
    rejected_rows: int
    """Rows of the source that could not be read at all."""
    questions: int
    accepted: int
    excluded: int
    """Questions none of whose answers passed."""
    unanswered: int
    answers: int
    retried: int
    """Questions accepted at a further try."""
    filters: dict[str, FilterCount]
    first_answers: GoldAgreement | None
    """Before gates and retries; None without gold."""
    accepted_answers: GoldAgreement | None
    guided: bool
    """Gold gave the labels: agreement with it means nothing."""
    label_fields: int
    """Label fields found in reasons and contexts of a row that is not of a train split."""
    prompt_tokens: int | None
    """None: this reader does not count."""
    answer_tokens: int | None
    answers_with_token_counts: int
    """Answers that the tokens are of."""
    seconds: float
    cached_posts: int
    """Posts whose answers lay in the ledger: of an earlier run, or of the estimate."""
    cost: float | None
    """None without prices or tokens."""

    @property
    def acceptance(self) -> float:
        """Share of questions with an accepted answer."""
        return self.accepted / self.questions if self.questions else 0.0


def gold_agreement(cells: LabelPairCounts) -> GoldAgreement | None:
    """Figures of gold against said labels; None for no row."""
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
    """The work of each gate in `names`, in that order."""
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
    settings: AnnotateSettings, tally: FilterCounts, job_facts: Mapping[str, str | int | float]
) -> AnnotationSummary:
    """The summary of a job; `facts` are the fields of `Summary` that no tally knows."""
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
