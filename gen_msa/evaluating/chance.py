"""What a reader's explanations would score if each stood beside another post: the level of chance.

A figure that stays where it was when explanations are shuffled says nothing of explanations. Knows
nothing of any one family.

    chance(board, seed=0)["permuted explanations"]["naming.named"].value
"""

from gen_msa.evaluating.measuring import Board, adds_up
from gen_msa.metrics import Undefined, permuted
from gen_msa.results import Value

NAME = "permuted explanations"
FAMILIES = ("naming", "quoting", "copying", "grounding", "bleu", "rouge", "chrf")
"""Families that are about explanations and add up over rows."""


def chance(board: Board, seed: int) -> dict[str, dict[str, Value]]:
    """The headline figure of every family about explanations, after one shuffle.

    Empty for a reader that does not explain.
    """
    try:
        shuffled = permuted(board.pairs, seed)
    except Undefined:
        return {}
    asked = {f: m for f, m in board.families.items() if f in FAMILIES and adds_up(m)}
    other = Board(shuffled, asked)
    found: dict[str, Value] = {}
    for family, rows in other.rows.items():
        figure = asked[family].figures[0].name
        value = other.values(family)[figure]
        known = value == value  # NaN is not
        found[f"{family}.{figure}"] = Value(
            value=value if known else None,
            n=int(rows[:, 0].sum()),
            note="each explanation beside another post" if known else "undefined",
        )
    return {NAME: found} if found else {}
