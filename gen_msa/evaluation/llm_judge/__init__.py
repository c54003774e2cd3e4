"""LLM judge: how another model rates explanations, and how well it agrees with people.

A judge is any backend by name, asked at temperature 0 with a prompt of `prompts/judge/`: a rating
of 1 to 5 per criterion (`judge_pointwise`), or a choice between the explanations of two systems,
asked in both orders (`judge_pairwise`). An answer that cannot be parsed is kept and counted, never
guessed. A metric without human ratings to compare with is noted as `uncalibrated`. A judge that
wrote the explanations itself is refused.

    judge = Judge.open(JudgeSettings(model="http:http://127.0.0.1:8000/v1#my-judge"), media_root)
    judgements = judge_pointwise(judge, pairs, author=predictor.fingerprint())
    save_judgements(judgements, Path("judgements.jsonl"))
    pointwise_metrics(judgements, read_human_ratings(Path("human.jsonl")))
"""

from gen_msa.evaluation.llm_judge.judge import (
    Judge,
    Judgement,
    JudgeSettings,
    Rating,
    is_same_model,
    save_judgements,
)
from gen_msa.evaluation.llm_judge.metrics import (
    HumanRating,
    pairwise_metrics,
    pointwise_metrics,
    read_human_ratings,
)
from gen_msa.evaluation.llm_judge.pairwise import PairwiseJudgement, judge_pairwise
from gen_msa.evaluation.llm_judge.pointwise import judge_pointwise
from gen_msa.metrics.statistics.agreement import krippendorff, weighted_kappa

__all__ = [
    "HumanRating",
    "Judge",
    "JudgeSettings",
    "Judgement",
    "PairwiseJudgement",
    "Rating",
    "is_same_model",
    "judge_pairwise",
    "judge_pointwise",
    "krippendorff",
    "pairwise_metrics",
    "pointwise_metrics",
    "read_human_ratings",
    "save_judgements",
    "weighted_kappa",
]
