"""Exports of Label Studio (JSON): tasks with the spans and choices of their annotations.

Spans whose label is a polarity become labelled aspects; so do other spans with a choice of their
own (`per_region`). A choice for the whole task is the label of the whole post. Offsets count UTF-16
units where the text has such characters; they are checked against the text that each span repeats.
Of several annotations, the one marked as ground truth, else the first one, is `gold`; the others
are opinions by `annotator_ID`. Other keys of `data` go to `meta`; results that are neither spans
nor choices are counted in a note. Only read. The short form (JSON-MIN) is read as `json`.

    [{"id": 7, "data": {"text": "good tea"}, "annotations": [{"result": [{"type": "labels",
      "value": {"start": 5, "end": 8, "text": "tea", "labels": ["positive"]}}]}]}]
"""

import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    gold_opinion_from_text,
    image_media,
    refuse_examples,
)
from gen_msa.data.formats._flat import CONFLICT, choose_label, locate_span
from gen_msa.data.formats._json_stream import first_record, iter_records, parse_records
from gen_msa.data.formats.base import ExampleStream, ReadOptions, formats
from gen_msa.data.formats.labels import parse_polarity
from gen_msa.errors import InputWarning, UserError
from gen_msa.jsonl import MAX_LINE_BYTES
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Opinion, Post

_MAX_TASK_BYTES = 8 * MAX_LINE_BYTES
_SPANS, _CHOICES = ("labels", "hypertextlabels"), ("choices", "choice")
_IMAGE_KEYS = ("image", "images", "img", "photo")


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    type: str = ""
    value: dict[str, JsonValue] = Field(default_factory=dict)


class _Annotation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: int | str | None = None
    completed_by: JsonValue = None
    result: list[_Result] = Field(default_factory=list)
    was_cancelled: bool | None = None
    ground_truth: bool | None = None

    @property
    def annotator(self) -> str:
        """Name of the person, for opinions other than gold."""
        by = self.completed_by
        who = by.get("email") or by.get("id") if isinstance(by, dict) else by
        return f"annotator_{who or self.id or 'unknown'}"


class _Task(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: int | str | None = None
    data: dict[str, JsonValue]
    annotations: list[_Annotation] = Field(default_factory=list)
    completions: list[_Annotation] = Field(default_factory=list)
    """The name of annotations before version 1.0."""


@formats.register
class LabelStudio:
    """Reads exports of Label Studio."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".json", ".jsonl", ".ndjson")
    about = "Label Studio JSON export: spans and choices of the annotations (read only)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first record is a task with annotations."""
        task = first_record(head)
        return isinstance(task.get("data"), dict) and bool(
            {"annotations", "completions", "predictions"} & task.keys()
        )

    def read(self, path: Path) -> ExampleStream:
        """Read every task, in order; a bad one is `Rejected`."""
        return self.read_with(path, ReadOptions())

    def read_with(self, path: Path, options: ReadOptions) -> ExampleStream:
        """Read every task, in order; a bad one is `Rejected`.

        Args:
            path: The file.
            options: The keys of `data` that hold text and image.

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.
        """
        if other := set(options.columns) - {"text", "image"}:
            raise UserError(
                f"label_studio takes {min(other)} from annotations: it cannot be mapped",
                hint="--map text=KEY and --map image=KEY name keys of data",
            )
        unread: Counter[str] = Counter()

        def build_example(raw: bytes, number: int) -> Example:
            task = _Task.model_validate_json(raw)
            default_id = f"{path.stem}-{number}"
            return _TaskParser(task, options.columns, unread).example(default_id)

        yield from parse_records(path, iter_records(path, _MAX_TASK_BYTES), build_example)
        if unread:
            counts = ", ".join(f"{name} ({n})" for name, n in unread.most_common())
            note = f"{path}: results of annotations that are not read: {counts}"
            warnings.warn(InputWarning(note, annotation=unread.total()), stacklevel=2)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Refuse to write examples.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: There is an example.
        """
        refuse_examples("label_studio", path, examples)


class _TaskParser:
    """One task as an example."""

    def __init__(self, task: _Task, columns: Any, unread: Counter[str]) -> None:
        self._task = task
        self._unread = unread
        self._data = dict(task.data)
        self._text = self._take_text(columns.get("text"))
        image_key = columns.get("image") or next((k for k in _IMAGE_KEYS if k in self._data), None)
        images = self._data.pop(image_key, None) if image_key else None
        listed = images if isinstance(images, list) else [images]
        self._images = [_local_path(i) for i in listed if isinstance(i, str) and i]

    def example(self, default_id: str) -> Example:
        """Return the example.

        Args:
            default_id: The id of a task without one.

        Raises:
            ValueError: A span is not at its offsets.
        """
        annotations = [
            a for a in self._task.annotations or self._task.completions if not a.was_cancelled
        ]
        annotations.sort(key=lambda a: not a.ground_truth)
        opinions: list[Opinion] = []
        aspects: dict[Aspect, None] = {}
        for number, annotation in enumerate(annotations):
            annotator = annotation.annotator if number else GOLD_ANNOTATOR
            for aspect, label in self._labels(annotation).items():
                if aspect != OVERALL_ASPECT:
                    aspects[aspect] = None
                if label:
                    opinion = gold_opinion_from_text(aspect, label)
                    opinions.append(opinion.model_copy(update={"annotator": annotator}))
        post = Post(
            id=default_id if self._task.id is None else str(self._task.id),
            text=self._text,
            media=image_media(self._images),
            aspects=tuple(sorted(aspects, key=lambda a: (a.start or 0, a.term))),
            meta={k: v for k, v in self._data.items() if v is not None},
        )
        return Example(post=post, opinions=tuple(opinions))

    def _take_text(self, key: str | None) -> str:
        if key is None:
            texts = [k for k, v in self._data.items() if isinstance(v, str) and " " in v]
            key = "text" if "text" in self._data else texts[0] if len(texts) == 1 else None
        value = self._data.pop(key, None) if key else None
        if not isinstance(value, str):
            keys = ", ".join(self._task.data)
            raise ValueError(f"data: no key `text`, only {keys}; name it with --map text=KEY")
        return value

    def _labels(self, annotation: _Annotation) -> dict[Aspect, str]:
        """Return the label of each aspect, "" for a span without one."""
        choices = {
            r.id: label
            for r in annotation.result
            if r.type in _CHOICES and (label := choose_label(r.value.get("choices")))
        }
        labels: dict[Aspect, str] = {}
        span_ids = set()
        for result in annotation.result:
            if result.type in _SPANS:
                span_ids.add(result.id)
                self._add_span(result, choices.get(result.id), labels)
            elif result.type not in _CHOICES:
                self._unread[result.type or "without type"] += 1
        whole = [label for id_, label in choices.items() if id_ not in span_ids]
        for label in whole:
            if parse_polarity(label) is None:
                self._unread[f"choice {label!r}"] += 1
            elif labels.setdefault(OVERALL_ASPECT, label) != label:
                labels[OVERALL_ASPECT] = CONFLICT
        return labels

    def _add_span(self, result: _Result, choice: str | None, labels: dict[Aspect, str]) -> None:
        value = result.value
        offsets = value.get("globalOffsets")
        place = offsets if isinstance(offsets, dict) else value
        start, end, known = place.get("start"), place.get("end"), value.get("text")
        if type(start) is not int or type(end) is not int:
            raise ValueError("result.value: the span has no offsets")
        known = known if isinstance(known, str) else None
        term, offset = locate_span(self._text, start, end, known)
        label = choose_label(value.get(result.type, value.get("labels"))) or ""
        if parse_polarity(label) is None:
            if choice is None and label and label.casefold() not in ("aspect", "target", "term"):
                self._unread[f"label {label!r}"] += 1
            label = choice or (label if label.casefold() == CONFLICT else "")
        aspect = Aspect(term=term, start=offset)
        earlier = labels.get(aspect)
        labels[aspect] = CONFLICT if earlier and label and earlier != label else earlier or label


def _local_path(address: str) -> str:
    """Return the path that Label Studio's address of a local file names, any other as it is."""
    parts = urlsplit(address)
    if parts.path.endswith("/data/local-files/") and (path := parse_qs(parts.query).get("d")):
        return path[0]
    return address
