"""Judging: what another model makes of readers' explanations, and how far it can be believed.

A judge is any backend by name, asked at temperature 0 with a prompt of `prompts/judge/`: a mark of
1 to 5 a criterion (`score`), or a choice between two readers' reasons, asked in both orders
(`duel`). An answer that cannot be read is kept whole and counted, never guessed. A figure that no
human marks stand beside says `uncalibrated`. Knows nothing of how the explanations were made; a
judge that made them itself is refused.

    judge = Judge.open(JudgeSettings(judge="http:http://127.0.0.1:8000/v1#my-judge"), media_root)
    judgements = score(judge, pairs, maker=reader.fingerprint())
    save(judgements, Path("judgements.jsonl"))
    figures(judgements, human=read_human(Path("human.jsonl")))      # dict[str, Value]
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
