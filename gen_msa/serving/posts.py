"""A post as a client sends it, and what becomes of it: a `Post` for the reader, or a `BadPost`.

Without an id a post gets one from its request. An aspect is a word, or a term with its place.
A post's words are data: nothing here or later obeys them. Knows nothing of HTTP.

    {"text": "Great screen, awful battery", "aspects": ["screen", {"term": "battery", "start": 20}]}
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from gen_msa import jsonl
from gen_msa.data.formats import locate
from gen_msa.readers import Reading
from gen_msa.serving.pictures import Folder, Kept
from gen_msa.serving.problems import BadPost
from gen_msa.serving.settings import Limits
from gen_msa.types import Aspect, Example, Media, Opinion, Post

_MEND = "send an object with text and perhaps id, aspects, pictures, meta; see /docs"


class AskedPost(BaseModel):
    """One post to be read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    text: str
    id: str | None = Field(default=None, min_length=1, max_length=200)
    """Yours; comes back in the answer."""
    aspects: tuple[str | Aspect, ...] = ()
    """What is asked about. A word is searched in the text; with none the reader finds its own."""
    pictures: tuple[str, ...] = ()
    """`data:image/…;base64,…`, or the names of uploaded files. Addresses are refused."""
    meta: dict[str, JsonValue] = Field(default_factory=dict)
    """Facts of your own; they come back in the answer."""


@dataclass(frozen=True)
class Taken:
    """A post that will be read."""

    post: Post
    """As the reader sees it."""
    pictures: tuple[Kept, ...] = field(default=())

    def example(self, reading: Reading) -> Example:
        """The answer, in which pictures have the names that the client knows."""
        if not self.pictures:
            return Example(post=self.post, opinions=reading.opinions)
        media = tuple(Media(kind="image", path=k.told) for k in self.pictures)
        post = self.post.model_copy(update={"media": media})
        return Example(post=post, opinions=tuple(map(self._named, reading.opinions)))

    def named(self, words: str) -> str:
        """A message in which pictures have the names that the client knows."""
        for kept in reversed(self.pictures):  # …/10 before …/1, of which it would be made
            words = words.replace(kept.path, kept.told)
        return words

    def _named(self, opinion: Opinion) -> Opinion:
        how = {k: self.named(v) for k, v in opinion.how.items()}
        return opinion.model_copy(update={"how": how})


def take(raw: Any, missing_id: str, limits: Limits, folder: Folder) -> Taken:
    """The post of one row. Raises `BadPost` for anything that is wrong with it alone."""
    _within(raw, limits)
    try:
        asked = AskedPost.model_validate(raw)
        kept = tuple(folder.keep(name) for name in asked.pictures)
        post = Post(
            id=asked.id or missing_id,
            text=asked.text,
            media=tuple(Media(kind="image", path=k.path) for k in kept),
            aspects=_placed(asked),
            meta=asked.meta,
        )
    except ValidationError as e:
        raise BadPost(jsonl.reason_of(e)[:500], _MEND) from None
    return Taken(post, kept)


def _within(raw: Any, limits: Limits) -> None:
    """Count before anything is made of it."""
    if not isinstance(raw, dict):
        raise BadPost("a post must be a JSON object", _MEND)
    asked, shown = _listed(raw, "aspects"), _listed(raw, "pictures")
    words = [raw.get("text"), *(a.get("term") if isinstance(a, dict) else a for a in asked)]
    for found, most, what in (
        (len(asked), limits.aspects, "aspects"),
        (len(shown), limits.pictures, "pictures"),
        (sum(len(w) for w in words if isinstance(w, str)), limits.characters, "characters"),
    ):
        if found > most:
            raise BadPost(f"{found:,} {what}, over the limit of {most:,}", "send fewer")


def _listed(raw: dict[str, Any], key: str) -> list[Any]:
    found = raw.get(key)
    return found if isinstance(found, list) else []


def _placed(asked: AskedPost) -> tuple[Aspect, ...]:
    """The aspects; those without a word about their place are searched, in order of mention."""
    wanted = [
        a if isinstance(a, str) else a.term
        for a in asked.aspects
        if isinstance(a, str) or "start" not in a.model_fields_set
    ]
    places = iter(locate(asked.text, wanted))
    return tuple(
        a if isinstance(a, Aspect) and "start" in a.model_fields_set else next(places)
        for a in asked.aspects
    )
