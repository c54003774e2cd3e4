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
from gen_msa.evaluating.judging.dueling import Duel, duel
from gen_msa.evaluating.judging.figures import duel_figures, figures
from gen_msa.evaluating.judging.human import HumanMark, read_human
from gen_msa.evaluating.judging.marks import Judgement, Mark, save
from gen_msa.evaluating.judging.same import same_model
from gen_msa.evaluating.judging.scoring import score

__all__ = [
    "Duel",
    "HumanMark",
    "Judge",
    "JudgeSettings",
    "Judgement",
    "Mark",
    "duel",
    "duel_figures",
    "figures",
    "krippendorff",
    "read_human",
    "same_model",
    "save",
    "score",
    "weighted_kappa",
]
