"""Flat rows: one row an aspect, as data frames and most annotation tools write them.

    {"text": "good tea, bad cup", "aspect": "tea", "polarity": "positive"}
    {"text": "good tea, bad cup", "span": "cup", "label": "negative", "ordinal": 0}

Adjacent rows of one post are joined as in CSV. A row whose label is none of the three is rejected,
and so is a label beside a key that tells what it is about but is not read (`category`), which would
else become the label of the whole post.
"""

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gen_msa.data.formats._common import locate_aspects
from gen_msa.data.formats._table import TableRecord
from gen_msa.data.formats.labels import parse_polarity
from gen_msa.errors import InputWarning
from gen_msa.types import Aspect

ASPECT_KEYS = ("aspect", "aspect_term", "aspectTerm", "target", "span", "term", "opinion_target")
"""Names of a key that holds the aspect of a row, as text."""
LABEL_KEYS = ("polarity", "sentiment", "label")
_START_KEYS = ("start", "from", "begin", "start_offset", "char_start")
TOPIC_KEYS = (*ASPECT_KEYS, "category", "aspect_category")
"""Keys that tell what the label of a row is about, if they are not read as its aspect."""
_SPAN_LIST_KEYS = ("label", "labels", "entities", "spans", "annotations")
_MAY_BE_FLAT = re.compile(
    rf'"(?:{"|".join(ASPECT_KEYS)})"\s*:\s*"|"(?:{"|".join(_SPAN_LIST_KEYS)})"\s*:\s*\['.encode()
)
_LABEL_LIKE = re.compile(
    r"(?:^|[_\s.-])(?:labels?|sentiments?|polarit(?:y|ies)|entities|annotations?|gold|spans?"
    r"|opinions?|emotions?)$",
    re.IGNORECASE,
)


def check_topic(row: Mapping[str, Any]) -> None:
    """Refuse a label of the whole post beside a key that tells what else it is about.

    Args:
        row: The keys of a row that has a label and no aspect.

    Raises:
        ValueError: There is such a key; the message names it.
    """
    if topic := next((k for k in TOPIC_KEYS if row.get(k)), None):
        raise ValueError(
            f"polarity stands beside {topic!r}, which is not read, and would be the label of the "
            f"whole post: name the key aspect, or put it into meta"
        )


def may_be_flat(line: bytes) -> bool:
    """Return whether a JSON line may be a flat row; cheap, for lines that mostly are not."""
    return _MAY_BE_FLAT.search(line) is not None


def is_flat(row: object) -> bool:
    """Return whether a row names its aspect in a key of its own."""
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("text"), str)
        and not {"post", "aspects", "conversations", "messages"} & row.keys()
        and any(isinstance(row.get(k), str) and row[k] for k in ASPECT_KEYS)
    )


def to_record(row: Mapping[str, Any], line: int, raw: bytes) -> TableRecord:
    """Return a flat row as a record of a table, under the column names of CSV.

    Args:
        row: The row.
        line: Its 1-based line or record.
        raw: Its bytes, for messages.
    """
    values = {k: v for k, v in row.items() if v is not None}
    cells: dict[str, str] = {}
    for column, keys in (("aspect", ASPECT_KEYS), ("polarity", LABEL_KEYS), ("start", _START_KEYS)):
        key = next((k for k in keys if k in values), None)
        if key is not None:
            cells[column] = str(values.pop(key))
    ordinal = str(values.pop("ordinal", ""))
    if re.fullmatch("[0-9]{1,4}", ordinal) and cells.get("aspect") and "start" not in cells:
        aspect = _nth_mention(str(values.get("text", "")), cells["aspect"], int(ordinal))
        cells["aspect"] = aspect.term
        cells["start"] = "" if aspect.start is None else str(aspect.start)
    for key in ("id", "text", "annotator", "explanation", "score", "image"):
        if key in values:
            cells[key] = str(values.pop(key))
    if images := values.pop("images", None):
        cells["images"] = images if isinstance(images, str) else "\n".join(map(str, images))
    meta = values.pop("meta", {})
    cells["meta"] = json.dumps({**values, **meta} if isinstance(meta, dict) else values)
    return TableRecord(line, {"text": "", **cells}, raw)


def _nth_mention(text: str, term: str, n: int) -> Aspect:
    """Return the mention after `n` others; without an offset if there are not so many."""
    return locate_aspects(text, [term] * (min(n, len(text)) + 1))[-1]


def read_span_list(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a row of doccano or Label Studio with `aspects` in place of its list of spans.

    Spans are `[start, end, label]`, or objects with `start`/`start_offset`, `end`/`end_offset` and
    `label` or `labels`. Offsets that count UTF-16 units are converted where the object has the
    span's `text`. None if no list has spans whose labels are polarities.

    Args:
        row: A row as it was written.

    Raises:
        ValueError: A span is not where its offsets say.
    """
    text = row.get("text")
    key = next((k for k in _SPAN_LIST_KEYS if isinstance(row.get(k), list) and row[k]), None)
    if key is None or not isinstance(text, str) or {"post", "aspects"} & row.keys():
        return None
    spans = [_parse_span(span) for span in row[key]]
    if not all(spans) or not any(s and parse_polarity(s.label) for s in spans):
        return None
    aspects: dict[tuple[str, int], str] = {}
    for span in filter(None, spans):
        place = locate_span(text, span.start, span.end, span.text)
        if aspects.setdefault(place, span.label) != span.label:
            aspects[place] = CONFLICT
    listed = [{"term": t, "start": s, "polarity": label} for (t, s), label in aspects.items()]
    return {**{k: v for k, v in row.items() if k != key}, "aspects": listed}


CONFLICT = "conflict"
"""Label of an aspect that has several, as SemEval-2014 calls it."""


class _Span(NamedTuple):
    start: int
    end: int
    label: str
    text: str | None


def _parse_span(span: Any) -> _Span | None:
    if isinstance(span, list) and len(span) == 3:
        span = {"start": span[0], "end": span[1], "label": span[2]}
    if not isinstance(span, Mapping):
        return None
    start, end = (span.get(k, span.get(f"{k}_offset")) for k in ("start", "end"))
    label = choose_label(span.get("labels", span.get("label")))
    if type(start) is not int or type(end) is not int or label is None:
        return None
    known = span.get("text")
    return _Span(start, end, label, known if isinstance(known, str) else None)


def choose_label(labels: Any) -> str | None:
    """Return the one label of a span: that which is a polarity, or the only one.

    Args:
        labels: A label, or a list of labels; several polarities are `conflict`.
    """
    names = [x for x in (labels if isinstance(labels, list) else [labels]) if isinstance(x, str)]
    polarities = [x for x in names if parse_polarity(x)]
    if len(polarities) > 1:
        return CONFLICT
    if polarities:
        return polarities[0]
    return names[0] if len(names) == 1 else None


def locate_span(text: str, start: int, end: int, known: str | None) -> tuple[str, int]:
    """Return the term at a span and its offset in characters.

    Args:
        text: The text.
        start: First offset, in characters or in UTF-16 units.
        end: Offset behind the last one.
        known: The term as the file repeats it, which decides the unit; None if it does not.

    Raises:
        ValueError: The span is empty, or the term is not there.
    """
    term = text[max(0, start) : max(0, end)]
    if known is not None and term != known:  # JavaScript counts UTF-16 units
        units = text.encode("utf-16-le")
        offset = len(units[: 2 * max(0, start)].decode("utf-16-le", "ignore"))
        if known and text.startswith(known, offset):
            return known, offset
    if not term or (known is not None and term != known):
        raise ValueError(f"post.aspects: {known or ''!r} is not at {start}-{end}: {term!r} is")
    return term, max(0, start)


def rename_columns(record: TableRecord) -> TableRecord:
    """Return a record of a table in which aspect and label have the names of CSV's columns."""
    cells = record.cells
    if "aspect" in cells or not any(cells.get(k) for k in ASPECT_KEYS):
        return record
    return to_record({k: v for k, v in cells.items() if v}, record.line, record.raw)


def warn_of_labels(path: Path, keys: Iterable[str], hint: str = "", kind: str = "key") -> None:
    """Announce keys that look like labels and were not read.

    Args:
        path: The file.
        keys: Its keys that are kept in `meta`.
        hint: How to have them read.
        kind: What the keys are in this file: `key` or `column`.
    """
    for key in sorted(filter(_LABEL_LIKE.search, keys)):
        note = f"{path}: {key!r} looks like a label and was not read; it is in meta{hint}"
        warnings.warn(InputWarning(note, **{kind: 1}), stacklevel=2)
