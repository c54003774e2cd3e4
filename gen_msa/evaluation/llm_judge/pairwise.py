"""Pairwise judgements: which of two systems explains better, asked in both orders.

A judge that names the same system both times has chosen it. If the choice changes with the order,
the row is a tie.

    judge_pairwise(judge, pairs_of_a, pairs_of_b)[0].winner      # 'a', 'b', 'tie' or 'unparsed'
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import JsonValue

from gen_msa.errors import UserError
from gen_msa.evaluation.llm_judge.judge import Judge, JudgeQuestion, Rating, pair_aspect
from gen_msa.metrics import Pair
from gen_msa.types import FrozenModel

Winner = Literal["a", "b", "tie", "unparsed"]
_OPTIONS = ("A", "B", "tie")


class PairwiseJudgement(FrozenModel):
    """Two explanations of one aspect, and the judge's choice in both orders."""

    post: str
    aspect: str
    start: int | None = None
    cluster: str
    a: str
    """Name of system a."""
    b: str
    judge: str
    revision: str
    a_first: Rating
    """The answer with the explanation of system a shown first, as A."""
    b_first: Rating
    """The answer with the explanation of system b shown first, as A."""

    @property
    def choices(self) -> tuple[Winner, Winner]:
        """The chosen system in each order; `unparsed` where the answer could not be parsed."""
        a_first_winners: dict[str | None, Winner] = {"A": "a", "B": "b", "tie": "tie"}
        b_first_winners: dict[str | None, Winner] = {"A": "b", "B": "a", "tie": "tie"}
        return (
            a_first_winners.get(self.a_first.choice, "unparsed"),
            b_first_winners.get(self.b_first.choice, "unparsed"),
        )

    @property
    def winner(self) -> Winner:
        """`unparsed` when either answer is; `tie` when the two differ."""
        a_first_winner, b_first_winner = self.choices
        if "unparsed" in (a_first_winner, b_first_winner):
            return "unparsed"
        return a_first_winner if a_first_winner == b_first_winner else "tie"


def judge_pairwise(
    judge: Judge,
    a: Sequence[Pair],
    b: Sequence[Pair],
    authors: Sequence[Mapping[str, JsonValue]] = (),
) -> list[PairwiseJudgement]:
    """Judge each row that both systems explain.

    Args:
        judge: The judge.
        a: Rows of the first system.
        b: The same rows of the second system.
        authors: Fingerprints of the two systems.

    Returns:
        One judgement per row that both explain.

    Raises:
        UserError: The judge is one of the two systems, or its prompt has other options than A, B,
            tie.
        ValueError: The rows of the two systems differ.
    """
    if [_row_key(p) for p in a] != [_row_key(p) for p in b]:
        raise ValueError("the rows of the two systems are not the same")
    judge.reject_self_judgement(
        *authors, *{p.prediction.annotator for p in (*a, *b) if p.prediction}
    )
    if judge.load_prompt(judge.settings.pairwise_prompt).options != _OPTIONS:
        raise UserError(f"prompt {judge.settings.pairwise_prompt} must have the options A, B, tie")
    explained_pairs = [(x, y) for x, y in zip(a, b, strict=True) if x.explanation and y.explanation]
    questions = [
        q for x, y in explained_pairs for q in (_question(judge, x, y), _question(judge, y, x))
    ]
    ratings = judge.rate(questions)
    return [
        _pairwise_judgement(judge, x, y, a_first, b_first)
        for (x, y), a_first, b_first in zip(
            explained_pairs, ratings[::2], ratings[1::2], strict=True
        )
    ]


def _row_key(pair: Pair) -> tuple[str, str, int | None]:
    aspect = pair_aspect(pair)
    return pair.post.id, aspect.term, aspect.start


def _question(judge: Judge, first: Pair, second: Pair) -> JudgeQuestion:
    slot_texts = {
        "answer_a": str(first.predicted_label or "no sentiment that could be read"),
        "explanation_a": first.explanation,
        "answer_b": str(second.predicted_label or "no sentiment that could be read"),
        "explanation_b": second.explanation,
    }
    return judge.build_question(judge.settings.pairwise_prompt, first, slot_texts)


def _pairwise_judgement(
    judge: Judge, a: Pair, b: Pair, a_first: Rating, b_first: Rating
) -> PairwiseJudgement:
    post, aspect, start = _row_key(a)
    return PairwiseJudgement(
        post=post,
        aspect=aspect,
        start=start,
        cluster=a.cluster,
        a=a.prediction.annotator if a.prediction else "",
        b=b.prediction.annotator if b.prediction else "",
        judge=judge.settings.model,
        revision=judge.revision,
        a_first=a_first,
        b_first=b_first,
    )
