"""Pointwise judgements: ratings of 1 to 5 for each explanation, one criterion at a time.

judge_pointwise(judge, pairs, author=predictor.fingerprint())[0].ratings["focus"].score
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from gen_msa.errors import UserError
from gen_msa.evaluation.llm_judge.judge import (
    Judge,
    Judgement,
    JudgeQuestion,
    Rating,
    empty_rating,
    pair_aspect,
)
from gen_msa.metrics import Pair


def judge_pointwise(
    judge: Judge, pairs: Sequence[Pair], author: Mapping[str, JsonValue] | None = None
) -> list[Judgement]:
    """Rate the explanations of one system.

    A row without an explanation is not sent to the judge and has `empty` ratings.

    Args:
        judge: The judge.
        pairs: The rows of the system.
        author: Fingerprint of the system.

    Returns:
        One judgement for each pair with a prediction.

    Raises:
        UserError: The judge wrote the explanations itself, or the options of a prompt are not
            numbers.
    """
    judge.reject_self_judgement(
        author or {}, *{p.prediction.annotator for p in pairs if p.prediction}
    )
    names = [_check_criterion(judge, name) for name in judge.settings.criteria]
    rows = [p for p in pairs if p.prediction]
    # Questions of one post lie side by side: backends read what they share once.
    questions = {
        (i, name): _question(judge, name, p)
        for i, p in enumerate(rows)
        if p.explanation
        for name in names
    }
    ratings = dict(zip(questions, judge.rate(list(questions.values())), strict=True))
    return [
        _judgement(
            judge,
            p,
            {
                name.rpartition("/")[2]: ratings.get((i, name))
                or empty_rating(judge.load_prompt(name))
                for name in names
            },
        )
        for i, p in enumerate(rows)
    ]


def _check_criterion(judge: Judge, name: str) -> str:
    if not all(o.isdecimal() for o in judge.load_prompt(name).options):
        raise UserError(
            f"the options of prompt {name} are not numbers", hint="use it as pairwise_prompt="
        )
    return name


def _question(judge: Judge, name: str, pair: Pair) -> JudgeQuestion:
    answer = (
        str(pair.predicted_label) if pair.predicted_label else "no sentiment that could be read"
    )
    return judge.build_question(name, pair, {"answer": answer, "explanation": pair.explanation})


def _judgement(judge: Judge, pair: Pair, ratings: Mapping[str, Rating]) -> Judgement:
    aspect = pair_aspect(pair)
    return Judgement(
        post=pair.post.id,
        aspect=aspect.term,
        start=aspect.start,
        cluster=pair.cluster,
        annotator=pair.prediction.annotator if pair.prediction else "",
        judge=judge.settings.model,
        revision=judge.revision,
        ratings=dict(ratings),
    )
