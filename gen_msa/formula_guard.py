"""Keep cells of a CSV file from being taken for formulas by a spreadsheet, and undo it.

escape_formula("=1+1")             # "'=1+1"
unescape_formula("'=1+1")          # "=1+1"
"""

from typing import TypeVar

CellT = TypeVar("CellT")
OWN_AUTHOR = "gen_msa"
"""Author of workbooks of ours, in which nothing is escaped: their cells have types."""

_STARTS_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def escape_formula(cell: CellT) -> CellT | str:
    """Put an apostrophe before a text that a spreadsheet could take for a formula.

    A text with apostrophes before such a text gets one more, so that they can be taken off again.

    Args:
        cell: The cell; a number stays as it is.
    """
    return f"'{cell}" if isinstance(cell, str) and _is_risky(cell) else cell


def unescape_formula(cell: str) -> str:
    """Return a cell as it was before `escape_formula`.

    Args:
        cell: The cell.
    """
    return cell[1:] if cell.startswith("'") and _is_risky(cell) else cell


def _is_risky(text: str) -> bool:
    bare = text.lstrip("'")
    return bare.startswith(("\t", "\r", "\n")) or bare.lstrip().startswith(_STARTS_FORMULA)
