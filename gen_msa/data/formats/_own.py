"""A row of a user's own: plain keys for text, pictures and aspects, as a person would write them.

Knows nothing of files: JSON lines and Parquet both read such rows. `text` is required; a row with
`aspects` as words gets their places by exact search, in the order of mention (see `_locate`).
Keys that are not known here go to `Post.meta` unread. A `polarity` becomes a gold opinion,
because a post never carries a label.

    {"text": "good food", "images": ["a.jpg"], "aspects": ["food", {"term": "bar", "start": null}]}
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from gen_msa.data.formats._locate import locate
from gen_msa.data.formats._rows import gold, images, polarity_of
from gen_msa.types import WHOLE_POST, Aspect, Example, Media, Opinion, Parse, Polarity, Post


class _Labelled(BaseModel):
    polarity: Polarity | None = None

    @field_validator("polarity", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return polarity_of(value) or value if isinstance(value, str) else value


class OwnAspect(_Labelled):
    """An aspect with, perhaps, its place and its gold label.

    Without the key `start` the place is searched; `"start": null` says that it has none.
    """

    model_config = ConfigDict(extra="forbid")

    term: str
    start: int | None = Field(default=None, ge=0)


class OwnRow(_Labelled):
    """One post as a user writes it."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    text: str
    id: str | int | None = None
    image: str | None = None
    images: str | list[str] = []
    aspects: list[str | OwnAspect] | None = None
    media: tuple[Media, ...] = ()
    parse: Parse | None = None
    meta: dict[str, JsonValue] = {}

    @field_validator("images", "media", "meta", mode="before")
    @classmethod
    def _null_is_none_given(cls, value: object) -> object:
        return () if value is None else value

    @model_validator(mode="after")
    def _no_name_twice(self) -> Self:
        twice = sorted(set(self.__pydantic_extra__) & set(self.meta))
        if twice:
            raise ValueError(f"{twice[0]!r} stands both in the row and in its meta")
        return self

    def example(self, missing_id: str) -> Example:
        """The row as an example; `missing_id` names it when it names itself not.

        Raises pydantic's `ValidationError` when an aspect is not where the row says.
        """
        many = [self.images] if isinstance(self.images, str) else self.images
        one = [self.image] if self.image else []
        aspects = self._aspects()
        post = Post(
            id=missing_id if self.id is None or self.id == "" else str(self.id),
            text=self.text,
            media=(*images([*one, *many]), *self.media),
            aspects=aspects,
            parse=self.parse,
            meta={**self.meta, **self.__pydantic_extra__},
        )
        return Example(post=post, opinions=self._labels(aspects))

    def _aspects(self) -> tuple[Aspect, ...]:
        given = self.aspects or []
        searched = [a if isinstance(a, str) else a.term for a in given if _wants_place(a)]
        places = iter(locate(self.text, searched))
        return tuple(
            next(places)
            if isinstance(a, str) or _wants_place(a)
            else Aspect(term=a.term, start=a.start)
            for a in given
        )

    def _labels(self, aspects: tuple[Aspect, ...]) -> tuple[Opinion, ...]:
        given = zip(self.aspects or [], aspects, strict=True)
        by_aspect = [
            gold(found, a.polarity) for a, found in given if isinstance(a, OwnAspect) and a.polarity
        ]
        overall = [gold(WHOLE_POST, self.polarity)] if self.polarity else []
        return (*by_aspect, *overall)


def _wants_place(aspect: str | OwnAspect) -> bool:
    return isinstance(aspect, str) or "start" not in aspect.model_fields_set
