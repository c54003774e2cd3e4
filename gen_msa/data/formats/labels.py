"""The labels of files: which spellings mean which polarity, and a user's own spellings.

`parse_polarity` is the only place that decides. Spellings that mean one thing everywhere are known
(`SPELLINGS`); a bare 0, 1 or 2 means different things in different files, and is read only where a
format defines it, a `ClassLabel` names it, or the user does (`label_map`).

    with_label_map(lambda: format.read(path), {"1": Polarity.POSITIVE}, path)
"""

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from gen_msa.data.formats.base import ExampleStream
from gen_msa.errors import InputWarning, UserError, did_you_mean
from gen_msa.types import Polarity

SPELLINGS: Mapping[Polarity, tuple[str, ...]] = {
    Polarity.NEGATIVE: (
        *("negative", "neg", "-1", "negativ", "négatif", "negativo", "negatief", "negatywny"),
        *("负面", "負面", "负向", "消极", "消極", "差评", "ネガティブ", "부정", "негативный"),
        *("отрицательный", "سلبي"),
    ),
    Polarity.NEUTRAL: (
        *("neutral", "neu", "neut", "neutre", "neutro", "neutraal", "neutralny"),
        *("中性", "中立", "中评", "ニュートラル", "중립", "нейтральный", "محايد"),
    ),
    Polarity.POSITIVE: (
        *("positive", "pos", "+1", "positiv", "positif", "positivo", "positief", "pozytywny"),
        *("正面", "正向", "积极", "積極", "好评", "ポジティブ", "긍정", "позитивный"),
        *("положительный", "إيجابي"),
    ),
}
"""Spellings of each polarity, in lower case, that mean the same in every file."""

AMBIGUOUS_LABEL = re.compile(r"[+-]?\d+(?:\.\d+)?")
"""A number that is no known spelling: 1 is neutral among 0, 1, 2 and positive among -1, 0, 1."""
_MAX_REPORTED = 5


def _folded(label: str) -> str:
    text = unicodedata.normalize("NFKC", label).strip().casefold().replace("\N{MINUS SIGN}", "-")
    # A table with empty cells holds its whole numbers as 1.0.
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text)


_BY_SPELLING = {_folded(s): p for p, spellings in SPELLINGS.items() for s in spellings}


class _LabelMap:
    """A user's spellings, and which of them a file has."""

    def __init__(self, labels: Mapping[str, Polarity]) -> None:
        self.labels = {_folded(k): p for k, p in labels.items()}
        self.unused = {_folded(k): k for k in labels}


_LABEL_MAP: ContextVar[_LabelMap | None] = ContextVar("label_map", default=None)


def parse_polarity(label: str) -> Polarity | None:
    """Return the polarity that a label names, in any case; None for any other label.

    Args:
        label: The label: a spelling of the file's `label_map`, or one of `SPELLINGS`.
    """
    folded, own = _folded(label), _LABEL_MAP.get()
    if own is not None and folded in own.labels:
        own.unused.pop(folded, None)
        return own.labels[folded]
    return _BY_SPELLING.get(folded)


def unknown_label(label: str) -> str:
    """Return why a label cannot be read, and how the user says what it means.

    Args:
        label: A label for which `parse_polarity` has no polarity.
    """
    reason = f"{label!r} is none of {', '.join(Polarity)}"
    if AMBIGUOUS_LABEL.fullmatch(label.strip()):
        reason += ", and a number means different things in different files"
    return f"{reason}; label_map says what it means: --label-map {label.strip()}=positive"


def with_label_map(
    read: Callable[[], ExampleStream], labels: Mapping[str, Polarity], path: Path
) -> ExampleStream:
    """Yield the rows of a file, in which a user's spellings of labels are known.

    Spellings that no label of the file has are named in an `InputWarning` at its end.

    Args:
        read: Opens the file and returns its rows.
        labels: Spelling, in any case -> what it means.
        path: The file, for the message.
    """
    if not labels:
        yield from read()
        return
    own = _LabelMap(labels)
    rows: Iterator[object] | None = None
    while True:
        # Set for each row only: between two rows other files may be read in this context.
        token = _LABEL_MAP.set(own)
        try:
            rows = rows or read()
            row = next(rows)
        except StopIteration:
            break
        finally:
            _LABEL_MAP.reset(token)
        yield row  # type: ignore[misc]
    if own.unused:
        names = ", ".join(map(repr, list(own.unused.values())[:_MAX_REPORTED]))
        note = f"{path}: no label is {names}, which label_map has"
        warnings.warn(note, InputWarning, stacklevel=2)


def parse_label_map(pairs: Mapping[str, str]) -> dict[str, Polarity]:
    """Return a label map from texts.

    Args:
        pairs: Spelling -> name of a polarity.

    Raises:
        UserError: A name is none of the three, or two spellings differ in case only.
    """
    labels: dict[str, Polarity] = {}
    for spelling, name in pairs.items():
        if name.strip().lower() not in list(Polarity):
            raise UserError(
                f"label_map: {spelling}={name} names no polarity", hint=did_you_mean(name, Polarity)
            )
        labels[spelling] = Polarity(name.strip().lower())
    by_folded: dict[str, Polarity] = {}
    for spelling, polarity in labels.items():
        if by_folded.setdefault(_folded(spelling), polarity) is not polarity:
            raise UserError(f"label_map gives {spelling!r} two meanings", hint="give it one")
    return labels


def _text_pairs(value: object) -> object:
    """Return a map whose keys are texts: YAML reads 1 and -1 as numbers."""
    if not isinstance(value, Mapping):
        return value
    try:
        return parse_label_map({str(k): str(v) for k, v in value.items()})
    except UserError as e:
        raise ValueError(f"{e.problem.removeprefix('label_map: ')}; {e.hint}") from None


LabelMap = Annotated[dict[str, Polarity], BeforeValidator(_text_pairs)]
"""Spelling of a label in a file -> the polarity that it means; the setting `label_map`."""
