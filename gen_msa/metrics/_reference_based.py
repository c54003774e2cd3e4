"""Shared code of the families that compare an explanation with a reference explanation.

A row counts if its reference has an explanation; a missing explanation of the system scores 0.
Equal pairs of texts are scored once.

    score_rows(pairs, lambda texts: [lengths(prediction, gold) for prediction, gold in texts], 2)
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

UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my"})
"""Languages written without spaces between words."""
LANGUAGE_PATTERN = "^[a-z]{2,3}$"
"""A language: two or three lower-case letters (ISO 639)."""
MAX_FOREIGN_SHARE = 0.2
"""Share of letters foreign to a language above which the language is taken to be wrong."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_SINGLE_CHARACTER = re.compile(r"[a-z0-9]+|[^\W_]")
_UNSPACED_SCRIPT = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@lru_cache(maxsize=1 << 15)
def tokenize(text: str, language: str) -> tuple[str, ...]:
    """Split a text into lower-case words; empty for a text without letters or digits.

    Args:
        text: The text.
        language: ISO 639 code. In a language of `UNSPACED`, each character is a word.

    Returns:
        The words, in order; punctuation is left out.
    """
    text = unicodedata.normalize("NFC", text).lower()
    if language in UNSPACED:
        return tuple(_SINGLE_CHARACTER.findall(text))
    if text.isascii():
        return tuple(_ASCII_WORD.findall(text))
    return tuple("".join(c if _is_word_character(c) else " " for c in text).split())


def check_language(references: Iterable[str], language: str) -> None:
    """Refuse references that are plainly not in `language`: their scores would be 0.

    Args:
        references: The reference explanations.
        language: ISO 639 code.

    Raises:
        UndefinedMetric: More than a fifth of the letters belong to a script without spaces while
            the language has spaces, or are not a-z while the language is English.
    """
    letters = [c for text in references for c in text if c.isalpha()]
    if language in UNSPACED or not letters:
        return
    n_unspaced = sum(_UNSPACED_SCRIPT.match(c) is not None for c in letters)
    if n_unspaced > MAX_FOREIGN_SHARE * len(letters):
        raise UndefinedMetric(
            f"the references are written without spaces, which language={language} needs: "
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
"""The system's explanation, possibly empty, and the reference explanation."""


def score_rows(
    pairs: Sequence[Pair],
    measure: Callable[[list[TextPair]], Iterable[Sequence[float]]],
    width: int,
) -> Array:
    """Score each row with a reference explanation.

    Args:
        pairs: The rows.
        measure: Returns `width` numbers for each pair of texts, in order.
        width: The numbers of one pair.

    Returns:
        `(n, 1 + width)`: 1 and the numbers for a scored row, zeros for others.

    Raises:
        UndefinedMetric: No reference has an explanation.
    """
    texts = [(p.explanation, p.reference_explanation) for p in pairs]
    distinct = list(dict.fromkeys(t for t in texts if t[1]))
    if not distinct:
        raise UndefinedMetric("no reference opinion has an explanation to compare with")
    scores = dict(zip(distinct, measure(distinct), strict=True))
    zeros = (0.0,) * (1 + width)
    return np.array([(1.0, *scores[t]) if t[1] else zeros for t in texts], dtype=np.float64)


def column_means(sums: Array, names: Sequence[str]) -> dict[str, Array]:
    """Return the mean over scored rows of each column after the first, by name.

    Args:
        sums: Sums of `score_rows`, `(..., 1 + len(names))`.
        names: Names of the columns.
    """
    return {name: nan_divide(sums[..., 1 + i], sums[..., 0]) for i, name in enumerate(names)}


def import_optional(module: str, package: str, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: The module to import.
        package: The name of the package, for the message.
        extra: The extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtra: The package is not installed.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingExtra(package, extra)
    return importlib.import_module(module)
