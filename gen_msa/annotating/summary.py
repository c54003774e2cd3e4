"""What a gated job came to: acceptance by gate, agreement with gold, tokens, time, money.

Written beside the output as OUT.summary.json. Counts are of all that stands in the output and the
rejected file, answers of earlier runs included; `seconds` is of the last run alone. Knows nothing
of how a summary is shown.

    Summary.model_validate_json(Path("out.summary.json").read_text()).gates["length"].acceptance
"""

from collections.abc import Mapping

from gen_msa.annotating._settings import AnnotateSettings
from gen_msa.annotating._sieving import Cells, Tally
from gen_msa.types import Noun, Polarity


class GateCount(Noun):
    """One gate's work."""

    shown: int
    """Answers it looked at; gates that ask or look at the file see what the others let pass."""
    refused: int
    acceptance: float | None
    """1 - refused / shown; None where it was shown nothing."""


class GoldAgreement(Noun):
    """Labels against gold, where both have one."""

    n: int
    accuracy: float
    kappa: float | None
    """Cohen's (1960), unweighted; None where both always say the same one label."""
    confusion: dict[str, dict[str, int]]
    """Gold -> said -> rows."""


class Summary(Noun):
    """A gated job in figures."""

    data: str
    data_sha256: str
    reader: str
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
    gates: dict[str, GateCount]
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
    tokens_known_of: int
    """Answers that the tokens are of."""
    seconds: float
    repeated_posts: int
    """Posts whose answers lay in the ledger: of an earlier run, or of the estimate."""
    money: float | None
    """None without prices or tokens."""

    @property
    def acceptance(self) -> float:
        """Share of questions with an accepted answer."""
        return self.accepted / self.questions if self.questions else 0.0


def agreement(cells: Cells) -> GoldAgreement | None:
    """Figures of gold against said labels; None for no row."""
    n = sum(cells.values())
    if not n:
        return None
    accuracy = sum(cells[p, p] for p in Polarity) / n
    gold = {p: sum(cells[p, q] for q in Polarity) / n for p in Polarity}
    said = {p: sum(cells[q, p] for q in Polarity) / n for p in Polarity}
    chance = sum(gold[p] * said[p] for p in Polarity)
    table = {str(p): {str(q): cells[p, q] for q in Polarity} for p in Polarity}
    kappa = (accuracy - chance) / (1 - chance) if chance < 1 else None
    return GoldAgreement(n=n, accuracy=accuracy, kappa=kappa, confusion=table)


def gate_counts(tally: Tally, names: list[str]) -> dict[str, GateCount]:
    """The work of each gate in `names`, in that order."""
    return {
        name: GateCount(
            shown=tally.shown[name],
            refused=tally.refused[name],
            acceptance=1 - tally.refused[name] / tally.shown[name] if tally.shown[name] else None,
        )
        for name in names
    }


def summarise(
    settings: AnnotateSettings, tally: Tally, facts: Mapping[str, str | int | float]
) -> Summary:
    """The summary of a job; `facts` are the fields of `Summary` that no tally knows."""
    known = tally.counted > 0
    money = settings.prices.of(tally.read, tally.written) if settings.prices and known else None
    return Summary.model_validate(
        {
            **facts,
            "reader": settings.reader,
            **{k: getattr(tally, k) for k in ("questions", "accepted", "excluded", "unanswered")},
            "answers": tally.answers,
            "retried": tally.retried,
            "gates": gate_counts(tally, ["answer", *settings.gates]),
            "first_answers": agreement(tally.first),
            "accepted_answers": agreement(tally.kept),
            "guided": settings.tells_label,
            "prompt_tokens": tally.read if known else None,
            "answer_tokens": tally.written if known else None,
            "tokens_known_of": tally.counted,
            "money": money,
        }
    )
