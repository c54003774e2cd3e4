"""Core data types: posts, opinions and their parts.

Frozen pydantic models: they validate external data, and their JSON is the format between the stages
of a pipeline.

    post = Post(id="1", text="Battery awful", aspects=(Aspect(term="Battery", start=0),))
    Opinion(annotator="gold", aspect=post.aspects[0], polarity=Polarity.NEGATIVE)
"""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)


def _require_utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise ValueError(
            f"character {e.start} is half a character; save the file as UTF-8"
        ) from None
    return text


def _require_finite(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        json.dumps(metadata, allow_nan=False)
    except ValueError:
        raise ValueError("holds a number that is not finite, which JSON cannot represent") from None
    return metadata


Utf8Str = Annotated[str, AfterValidator(_require_utf8)]
"""Text without lone surrogates, which files, parsers and tokenizers accept."""


class FrozenModel(BaseModel):
    """Base of the data types: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


MAX_ASPECTS = 1_000
"""Aspects of a post: each is a question of its own, and a line of 1 MB could hold 90,000."""
MAX_MEDIA = 1_000
"""Images and other files of a post: each is opened."""


class Polarity(StrEnum):
    """The three sentiment classes, in label order 0, 1, 2."""

    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"


class Media(FrozenModel):
    """An image, audio, video or feature tensor, by reference: the bytes stay on disk."""

    kind: Literal["image", "audio", "video", "features"]
    path: Utf8Str = Field(min_length=1)
    """Relative to the job's media root; `gen_msa.media` rejects anything outside it."""
    key: str | None = None
    """Name of the tensor inside a safetensors file; only for `kind="features"`."""


class Aspect(FrozenModel):
    """What an opinion is about. `term=""` is the post as a whole."""

    term: Utf8Str
    start: int | None = Field(default=None, ge=0)
    """Character offset of `term` in the post's text; None when it does not occur there."""

    @property
    def end(self) -> int | None:
        """Return the character offset one past the term, or None when `start` is None."""
        return None if self.start is None else self.start + len(self.term)


OVERALL_ASPECT = Aspect(term="")


class Token(FrozenModel):
    """One word of a dependency parse."""

    text: str
    start: int = Field(ge=0)
    """Character offset in the post's text."""
    head: int = Field(ge=-1)
    """0-based index of the governor in the parse; -1 for a root."""
    rel: str
    """Dependency relation to the head, in Universal Dependencies or ClearNLP names."""
    pos: str = ""
    """Part of speech: a universal tag (VERB) or a Penn tag (VBZ)."""


class Parse(FrozenModel):
    """A dependency parse that came with the data, so that no parser is needed."""

    tokens: tuple[Token, ...]
    parser: str
    """Name of the parser that produced it, e.g. `stanza`."""


class Post(FrozenModel):
    """One post, the input of predictors. Never carries a label."""

    id: Utf8Str = Field(min_length=1)
    text: Utf8Str
    media: tuple[Media, ...] = Field(default=(), max_length=MAX_MEDIA)
    aspects: tuple[Aspect, ...] = Field(default=(), max_length=MAX_ASPECTS)
    parse: Parse | None = None
    meta: Annotated[dict[str, JsonValue], AfterValidator(_require_finite)] = Field(
        default_factory=dict
    )
    """Facts of the source (speaker, time, image id) that the package does not interpret."""

    @model_validator(mode="after")
    def _check_aspect_offsets(self) -> Self:
        for a in self.aspects:
            if a.start is not None and self.text[a.start : a.start + len(a.term)] != a.term:
                actual = self.text[a.start : a.start + len(a.term)]
                raise ValueError(f"aspect {a.term!r} is not at {a.start}: the text has {actual!r}")
        if len(set(self.aspects)) != len(self.aspects):
            raise ValueError("the same aspect is listed twice at the same place")
        return self


class Evidence(FrozenModel):
    """A part of the post (or of the text that stands for its image) that supports an opinion."""

    quote: str
    start: int | None = Field(default=None, ge=0)
    """Character offset in the post's text; None for a quote of an image or a cue. Files of other
    programs may lack it for a quote of the text.
    """
    source: Literal["text", "image", "cue"] = "text"


class Status(StrEnum):
    """How an answer was obtained or why there is none. All but the first two count as wrong."""

    OK = "ok"
    REPARSED = "reparsed"
    """Parsed only after a second, constrained question."""
    UNPARSED = "unparsed"
    """No label, a label outside the set, or more than one."""
    EMPTY = "empty"
    LENGTH = "length"
    """Cut at the token limit before the label."""
    ERROR = "error"
    """The model could not be asked (network, server, image policy); retryable."""


class Opinion(FrozenModel):
    """What one annotator says about one aspect of a post: gold, teacher and student alike."""

    annotator: str = Field(min_length=1)
    aspect: Aspect = OVERALL_ASPECT
    polarity: Polarity | None = None
    score: float | None = Field(default=None, allow_inf_nan=False)
    """Sentiment intensity on the data set's own scale (MOSI: -3 to 3); not a probability."""
    probs: dict[Polarity, float] | None = None
    """Probability of each class; sums to 1."""
    explanation: str | None = None
    evidence: tuple[Evidence, ...] = ()
    raw: str | None = None
    """The model's answer, unabridged."""
    status: Status = Status.OK
    provenance: dict[str, str] = Field(default_factory=dict)
    """How the opinion came about: prompt@hash, cue_source, aspect_source, image, …"""

    @model_validator(mode="after")
    def _check_probs(self) -> Self:
        if self.probs is not None:
            values = list(self.probs.values())
            if any(not 0.0 <= p <= 1.0 for p in values) or abs(sum(values) - 1.0) > 1e-3:
                raise ValueError(f"probs must be in 0..1 and sum to 1, not {values}")
        return self

    @property
    def probability(self) -> float | None:
        """Return the probability of the chosen polarity, if the annotator gave probabilities."""
        if self.probs is None or self.polarity is None:
            return None
        return self.probs.get(self.polarity)


CONFLICT_KEY = "conflict"
"""Key of `Opinion.provenance` where an annotator gave one aspect several polarities."""
_CONFLICT_SEPARATOR = " and "


def conflict_text(polarities: Iterable[Polarity | None]) -> str:
    """Return the value of `provenance[CONFLICT_KEY]`: `negative and positive`."""
    return _CONFLICT_SEPARATOR.join(str(p) for p in dict.fromkeys(polarities))


def given_polarities(opinion: Opinion) -> frozenset[Polarity | None]:
    """Return every polarity that the annotator gave the aspect; None for an unparsed answer.

    These are several only for an opinion that was merged from contradictory ones.
    """
    conflict = opinion.provenance.get(CONFLICT_KEY, "")
    names = conflict.split(_CONFLICT_SEPARATOR) if conflict else []
    known = [p for name in names for p in Polarity if p == name]
    if opinion.polarity is not None or not known:
        return frozenset({opinion.polarity})
    return frozenset([*known, *([None] if len(known) < len(names) else [])])


class Example(FrozenModel):
    """A post and the opinions about it: one line of JSONL between two stages."""

    post: Post
    opinions: tuple[Opinion, ...] = ()

    def opinions_by(self, annotator: str) -> tuple[Opinion, ...]:
        """Return the opinions of one annotator, in their order."""
        return tuple(o for o in self.opinions if o.annotator == annotator)

    def with_opinions(self, *opinions: Opinion) -> "Example":
        """Return a copy with more opinions; existing ones stay unchanged."""
        return Example(post=self.post, opinions=(*self.opinions, *opinions))


class Rejected(FrozenModel):
    """A row that could not be read: where it is, why, and how to fix it."""

    file: str
    line: int = Field(ge=0)
    """1-based line (JSONL, CSV, TSV) or record number; 0 when the file as a whole is meant."""
    reason: str
    hint: str = ""
    raw: str = ""
    """The first 500 characters of the row."""


class Cue(FrozenModel):
    """A hint for one prompt slot, and its source (`spacy`, `window`, `file:…`)."""

    text: str
    source: str
