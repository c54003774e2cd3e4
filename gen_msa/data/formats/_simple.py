"""Simple rows of a user's own files: plain keys for text, images and aspects.

JSON lines and Parquet both read such rows. A row has `text` or an image. Aspects given as strings
are located by exact search, in order of mention (`locate_aspects`). Other keys go to `Post.meta`. A
`polarity` becomes a gold opinion, because a post never carries a label.

    {"text": "good food", "images": ["a.jpg"], "aspects": ["food", {"term": "bar", "start": null}]}
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from gen_msa.data.formats._common import (
    gold_opinion,
    gold_opinion_from_text,
    image_media,
    locate_aspects,
)
from gen_msa.data.formats._flat import check_topic
from gen_msa.data.formats.keys import intended_key
from gen_msa.data.formats.labels import AMBIGUOUS_LABEL, parse_polarity, unknown_label
from gen_msa.errors import InputWarning
from gen_msa.types import (
    MAX_ASPECTS,
    OVERALL_ASPECT,
    Aspect,
    Example,
    Media,
    Opinion,
    Parse,
    Polarity,
    Post,
)


class SimpleAspect(BaseModel):
    """An aspect, optionally with its offset and its gold label.

    Without the key `start` the term is searched; `"start": null` means that it has no offset. A
    label outside the three classes (`conflict`) is kept as `raw` of an opinion without polarity.
    """

    model_config = ConfigDict(extra="forbid")

    term: str
    start: int | None = Field(default=None, ge=0)
    polarity: str | None = None

    @field_validator("polarity", mode="before")
    @classmethod
    def _check_number(cls, value: object) -> object:
        label = _label_text(value)
        is_number = isinstance(label, str) and AMBIGUOUS_LABEL.fullmatch(label.strip())
        if is_number and parse_polarity(str(label)) is None:
            raise ValueError(unknown_label(str(label)))
        return label

    @property
    def has_other_label(self) -> bool:
        """Whether the label is outside the three classes."""
        return bool(self.polarity) and parse_polarity(self.polarity or "") is None

    def gold_opinion(self, aspect: Aspect) -> Opinion | None:
        """Return the label as an opinion about the located aspect; None if there is no label."""
        if not self.polarity:
            return None
        polarity = parse_polarity(self.polarity)
        if polarity is None:
            return gold_opinion_from_text(aspect, self.polarity)
        return gold_opinion(aspect, polarity)


class SimpleRow(BaseModel):
    """One post as a user writes it."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    text: str = ""
    polarity: Polarity | None = None
    id: str | int | None = None
    image: str | None = None
    images: str | list[str] = []
    aspects: list[str | SimpleAspect] | None = Field(default=None, max_length=MAX_ASPECTS)
    media: tuple[Media, ...] = ()
    parse: Parse | None = None
    meta: dict[str, JsonValue] = {}

    @field_validator("polarity", mode="before")
    @classmethod
    def _normalize_polarity(cls, value: object) -> object:
        if isinstance(value, list) and len(value) == 1:  # doccano's labels of a whole text
            value = value[0]
        label = _label_text(value)
        if isinstance(label, str) and label:
            if parse_polarity(label) is None:
                raise ValueError(unknown_label(label))
            return parse_polarity(label)
        return None if label == "" else label

    @field_validator("images", "media", "meta", mode="before")
    @classmethod
    def _none_to_empty(cls, value: object) -> object:
        return () if value is None else value

    @model_validator(mode="before")
    @classmethod
    def _require_text_or_image(cls, row: object) -> object:
        if not isinstance(row, dict) or row.get("text") is not None:
            return row
        if any(row.get(key) for key in ("image", "images", "media")):
            return {**row, "text": ""}
        raise ValueError(f"no text and no image{text_hint(row)}")

    @model_validator(mode="after")
    def _reject_near_miss_keys(self) -> Self:
        for key in self.__pydantic_extra__:
            if intended := intended_key(key, type(self).model_fields):
                raise ValueError(
                    f"unknown key {key!r}: did you mean {intended!r}? Put other facts into 'meta'"
                )
        return self

    @model_validator(mode="after")
    def _check_duplicate_keys(self) -> Self:
        duplicates = sorted(set(self.__pydantic_extra__) & set(self.meta))
        if duplicates:
            raise ValueError(f"{duplicates[0]!r} is both in the row and in its meta")
        return self

    @model_validator(mode="after")
    def _check_label_of_post(self) -> Self:
        if self.polarity is not None:
            check_topic(self.__pydantic_extra__)
        return self

    def to_example(self, default_id: str) -> Example:
        """Return the row as an example.

        Args:
            default_id: The id of a row without one.

        Raises:
            ValidationError: An aspect is not at its offset.
        """
        listed_images = [self.images] if isinstance(self.images, str) else self.images
        single_image = [self.image] if self.image else []
        aspects = self._resolve_aspects()
        post = Post(
            id=default_id if self.id is None or self.id == "" else str(self.id),
            text=self.text,
            media=(*image_media([*single_image, *listed_images]), *self.media),
            aspects=aspects,
            parse=self.parse,
            meta={**self.meta, **self.__pydantic_extra__},
        )
        return Example(post=post, opinions=self._gold_opinions(aspects))

    def other_labels(self) -> list[str]:
        """Return the labels of aspects that are outside the three classes."""
        aspects = (a for a in self.aspects or [] if isinstance(a, SimpleAspect))
        return [a.polarity or "" for a in aspects if a.has_other_label]

    def _resolve_aspects(self) -> tuple[Aspect, ...]:
        aspect_specs = self.aspects or []
        terms_to_locate = [
            a if isinstance(a, str) else a.term for a in aspect_specs if _needs_locating(a)
        ]
        located = iter(locate_aspects(self.text, terms_to_locate))
        return tuple(
            next(located)
            if isinstance(a, str) or _needs_locating(a)
            else Aspect(term=a.term, start=a.start)
            for a in aspect_specs
        )

    def _gold_opinions(self, aspects: tuple[Aspect, ...]) -> tuple[Opinion, ...]:
        pairs = zip(self.aspects or [], aspects, strict=True)
        by_aspect = [
            opinion
            for a, aspect in pairs
            if isinstance(a, SimpleAspect) and (opinion := a.gold_opinion(aspect))
        ]
        overall = [gold_opinion(OVERALL_ASPECT, self.polarity)] if self.polarity else []
        return (*by_aspect, *overall)


def text_hint(row: Mapping[str, object]) -> str:
    """Return how to name the text of a row without the key `text`; "" if no value may be one.

    Args:
        row: The row.
    """
    texts = [key for key, value in row.items() if isinstance(value, str) and " " in value.strip()]
    if not texts:
        return ""
    longest = max(texts, key=lambda key: len(str(row[key])))
    return f"; if {longest!r} is the text: --map text={longest}"


def warn_of_other_labels(path: Path, labels: Counter[str]) -> None:
    """Announce the labels of aspects that are outside the three classes, with their number.

    Args:
        path: The file.
        labels: How often each label occurs.
    """
    if labels:
        counts = ", ".join(f"{label!r} ({n})" for label, n in labels.most_common(5))
        note = f"{path}: labels that are none of {', '.join(Polarity)}: {counts}"
        note += ", …" if len(labels) > 5 else ""
        note += "; their aspects have no polarity"
        warnings.warn(InputWarning(note, label=labels.total()), stacklevel=2)


def _label_text(value: object) -> object:
    """Return a number as text: labels are numbers in many files."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _needs_locating(aspect: str | SimpleAspect) -> bool:
    return isinstance(aspect, str) or "start" not in aspect.model_fields_set
