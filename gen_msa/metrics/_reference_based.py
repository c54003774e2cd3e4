"""What the families that hold an explanation against gold's have in common.

A row counts when gold gives an explanation; what the reader left empty is scored like any other
text, and scores 0. Equal pairs of texts are measured once. Knows no measure.

    rows(pairs, lambda texts: [lengths(said, gold) for said, gold in texts], width=2)
"""

import importlib
import importlib.util
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_msa.errors import MissingExtra
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._thresholds import nan_divide
from gen_msa.metrics.base import UndefinedMetric

# Words of an explanation, by language, for the measures that compare words.

UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my"})
LANGUAGE_PATTERN = "^[a-z]{2,3}$"
"""Of a language: two or three small letters (ISO 639)."""
MAX_FOREIGN_SHARE = 0.2
"""Share of letters that a language may not be able to read before it is taken to be wrong."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_SINGLE_CHARACTER = re.compile(r"[a-z0-9]+|[^\W_]")
_UNSPACED_SCRIPT = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@lru_cache(maxsize=1 << 15)
def tokenize(text: str, language: str) -> tuple[str, ...]:
    """The words of `text`; empty for one without letters or digits."""
    text = unicodedata.normalize("NFC", text).lower()
    if language in UNSPACED:
        return tuple(_SINGLE_CHARACTER.findall(text))
    if text.isascii():
        return tuple(_ASCII_WORD.findall(text))
    return tuple("".join(c if _is_word_character(c) else " " for c in text).split())


def check_language(references: Iterable[str], language: str) -> None:
    """Refuse references that are plainly not in `language`, for their scores would be 0.

    Raises `Undefined` when more than a fifth of their letters are of a script without blanks while
    the language has blanks, or not a-z while it is English.
    """
    letters = [c for text in references for c in text if c.isalpha()]
    if language in UNSPACED or not letters:
        return
    n_unspaced = sum(_UNSPACED_SCRIPT.match(c) is not None for c in letters)
    if n_unspaced > MAX_FOREIGN_SHARE * len(letters):
        raise UndefinedMetric(
            f"the references are written without blanks, which language={language} needs: "
            "set language=zh (or ja, th, …)"
        )
    if language == "en" and sum(not c.isascii() for c in letters) > MAX_FOREIGN_SHARE * len(
        letters
    ):
        raise UndefinedMetric("the references are not in English: set language=")


def _is_word_character(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


Array = NDArray[np.float64]
TextPair = tuple[str, str]
"""What the reader wrote (possibly nothing), and what gold did."""


def score_rows(
    pairs: Sequence[Pair],
    measure: Callable[[list[TextPair]], Iterable[Sequence[float]]],
    width: int,
) -> Array:
    """Rows of 1 (scored) and the `width` numbers that `measure` gives each distinct pair of texts.

    Raises `Undefined` when gold explains nothing.
    """
    texts = [(p.explanation, p.reference_explanation) for p in pairs]
    distinct = list(dict.fromkeys(t for t in texts if t[1]))
    if not distinct:
        raise UndefinedMetric("no gold opinion has an explanation to compare with")
    scores = dict(zip(distinct, measure(distinct), strict=True))
    zeros = (0.0,) * (1 + width)
    return np.array([(1.0, *scores[t]) if t[1] else zeros for t in texts], dtype=np.float64)


def column_means(sums: Array, names: Sequence[str]) -> dict[str, Array]:
    """Mean over scored rows of each column after the first, by name."""
    return {name: nan_divide(sums[..., 1 + i], sums[..., 0]) for i, name in enumerate(names)}


def import_optional(module: str, package: str, extra: str) -> Any:
    """Import a module of an optional package. Raises `MissingExtra` when it is not installed."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingExtra(package, extra)
    return importlib.import_module(module)
