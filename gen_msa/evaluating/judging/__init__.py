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

from gen_msa.evaluating.judging.agreement import krippendorff, weighted_kappa
from gen_msa.evaluating.judging.asking import Judge, JudgeSettings
from gen_msa.evaluating.judging.dueling import PairwiseJudgement, judge_pairwise
from gen_msa.evaluating.judging.figures import pairwise_metrics, pointwise_metrics
from gen_msa.evaluating.judging.human import HumanRating, read_human_ratings
from gen_msa.evaluating.judging.marks import Judgement, Rating, save_judgements
from gen_msa.evaluating.judging.same import is_same_model
from gen_msa.evaluating.judging.scoring import judge_pointwise

__all__ = [
    "PairwiseJudgement",
    "HumanRating",
    "Judge",
    "JudgeSettings",
    "Judgement",
    "Rating",
    "judge_pairwise",
    "pairwise_metrics",
    "pointwise_metrics",
    "krippendorff",
    "read_human_ratings",
    "is_same_model",
    "save_judgements",
    "judge_pointwise",
    "weighted_kappa",
]
