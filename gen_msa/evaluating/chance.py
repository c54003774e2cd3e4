"""What a reader's explanations would score if each stood beside another post: the level of chance.

A figure that stays where it was when explanations are shuffled says nothing of explanations. Knows
nothing of any one family.

    chance(board, seed=0)["permuted explanations"]["naming.named"].value
"""

from gen_msa.evaluating.measuring import SystemScores, is_additive
from gen_msa.metrics import UndefinedMetric, shuffle_explanations
from gen_msa.results import MetricValue

SHUFFLED_BASELINE = "permuted explanations"
EXPLANATION_FAMILIES = ("naming", "quoting", "copying", "grounding", "bleu", "rouge", "chrf")
"""Families that are about explanations and add up over rows."""


def shuffled_baseline(scores: SystemScores, seed: int) -> dict[str, dict[str, MetricValue]]:
    """The headline figure of every family about explanations, after one shuffle.

    Empty for a reader that does not explain.
    """
    try:
        shuffled_pairs = shuffle_explanations(scores.pairs, seed)
    except UndefinedMetric:
        return {}
    families = {f: m for f, m in scores.families.items() if f in EXPLANATION_FAMILIES and is_additive(m)}
    shuffled_scores = SystemScores(shuffled_pairs, families)
    values: dict[str, MetricValue] = {}
    for family, rows in shuffled_scores.row_statistics.items():
        metric_name = families[family].specs[0].name
        value = shuffled_scores.compute(family)[metric_name]
        is_known = value == value  # NaN is not
        values[f"{family}.{metric_name}"] = MetricValue(
            value=value if is_known else None,
            n=int(rows[:, 0].sum()),
            note="each explanation beside another post" if is_known else "undefined",
        )
    return {SHUFFLED_BASELINE: values} if values else {}
