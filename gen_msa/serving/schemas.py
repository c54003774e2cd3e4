"""A post as a client sends it, and what becomes of it: a `Post` for the reader, or a `BadPost`.

Without an id a post gets one from its request. An aspect is a word, or a term with its place.
A post's words are data: nothing here or later obeys them. Knows nothing of HTTP.

    {"text": "Great screen, awful battery", "aspects": ["screen", {"term": "battery", "start": 20}]}
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from gen_msa import jsonl
from gen_msa.data.formats import locate_aspects
from gen_msa.predictors import Prediction
from gen_msa.serving.batcher import PREDICTOR_FAILED
from gen_msa.serving.errors import ErrorDetail, InvalidPost
from gen_msa.serving.prometheus import ServiceMetrics
from gen_msa.serving.settings import ServiceLimits
from gen_msa.serving.uploads import StoredImage, UploadFolder
from gen_msa.types import Aspect, Example, FrozenModel, Media, Opinion, Post

_HINT = "send an object with text and perhaps id, aspects, pictures, meta; see /docs"


class PostRequest(BaseModel):
    """One post to be read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    text: str
    id: str | None = Field(default=None, min_length=1, max_length=200)
    """Yours; comes back in the answer."""
    aspects: tuple[str | Aspect, ...] = ()
    """What is asked about. A word is searched in the text; with none the reader finds its own."""
    images: tuple[str, ...] = ()
    """`data:image/…;base64,…`, or the names of uploaded files. Addresses are refused."""
    meta: dict[str, JsonValue] = Field(default_factory=dict)
    """Facts of your own; they come back in the answer."""


@dataclass(frozen=True)
class AcceptedPost:
    """A post that will be read."""

    post: Post
    """As the reader sees it."""
    images: tuple[StoredImage, ...] = field(default=())

    def to_example(self, prediction: Prediction) -> Example:
        """The answer, in which pictures have the names that the client knows."""
        if not self.images:
            return Example(post=self.post, opinions=prediction.opinions)
        media = tuple(Media(kind="image", path=k.public_name) for k in self.images)
        post = self.post.model_copy(update={"media": media})
        return Example(post=post, opinions=tuple(map(self._rename_in_opinion, prediction.opinions)))

    def with_public_names(self, message: str) -> str:
        """A message in which pictures have the names that the client knows."""
        for stored_image in reversed(self.images):  # …/10 before …/1, of which it would be made
            message = message.replace(stored_image.path, stored_image.public_name)
        return message

    def _rename_in_opinion(self, opinion: Opinion) -> Opinion:
        provenance = {k: self.with_public_names(v) for k, v in opinion.provenance.items()}
        return opinion.model_copy(update={"how": provenance})


def accept_post(
    raw: Any, default_id: str, limits: ServiceLimits, folder: UploadFolder
) -> AcceptedPost:
    """The post of one row. Raises `BadPost` for anything that is wrong with it alone."""
    _check_limits(raw, limits)
    try:
        post_request = PostRequest.model_validate(raw)
        stored_images = tuple(folder.store(name) for name in post_request.images)
        post = Post(
            id=post_request.id or default_id,
            text=post_request.text,
            media=tuple(Media(kind="image", path=k.path) for k in stored_images),
            aspects=_locate_request_aspects(post_request),
            meta=post_request.meta,
        )
    except ValidationError as e:
        raise InvalidPost(jsonl.format_validation_error(e)[:500], _HINT) from None
    return AcceptedPost(post, stored_images)


def _check_limits(raw: Any, limits: ServiceLimits) -> None:
    """Count before anything is made of it."""
    if not isinstance(raw, dict):
        raise InvalidPost("a post must be a JSON object", _HINT)
    aspects, images = _list_field(raw, "aspects"), _list_field(raw, "pictures")
    texts = [raw.get("text"), *(a.get("term") if isinstance(a, dict) else a for a in aspects)]
    for count, maximum, unit in (
        (len(aspects), limits.aspects, "aspects"),
        (len(images), limits.images, "pictures"),
        (sum(len(w) for w in texts if isinstance(w, str)), limits.characters, "characters"),
    ):
        if count > maximum:
            raise InvalidPost(f"{count:,} {unit}, over the limit of {maximum:,}", "send fewer")


def _list_field(raw: dict[str, Any], key: str) -> list[Any]:
    value = raw.get(key)
    return value if isinstance(value, list) else []


def _locate_request_aspects(post_request: PostRequest) -> tuple[Aspect, ...]:
    """The aspects; those without a word about their place are searched, in order of mention."""
    terms_to_locate = [
        a if isinstance(a, str) else a.term
        for a in post_request.aspects
        if isinstance(a, str) or "start" not in a.model_fields_set
    ]
    located = iter(locate_aspects(post_request.text, terms_to_locate))
    return tuple(
        a if isinstance(a, Aspect) and "start" in a.model_fields_set else next(located)
        for a in post_request.aspects
    )


# What a request to explain is answered: one entry for each post, in order.


class AnsweredPost(FrozenModel):
    """A post that was read."""

    row: int = Field(ge=1)
    """1 for the first post of the request."""
    example: Example


class RejectedPost(FrozenModel):
    """A post that was not read."""

    row: int = Field(ge=1)
    error: ErrorDetail


class ExplainResponse(FrozenModel):
    """One entry for each post, in order."""

    answers: tuple[AnsweredPost | RejectedPost, ...]


def build_response(
    rows: Sequence[AcceptedPost | ErrorDetail],
    predictions: Sequence[Prediction],
    metrics: ServiceMetrics,
) -> tuple[bytes, int]:
    """The JSON of `Answers`, and how many posts were not read. `readings` are of those taken."""
    remaining = iter(predictions)
    entries: list[bytes] = []
    n_rejected = 0
    for row, item in enumerate(rows, 1):
        if isinstance(item, AcceptedPost):
            prediction = next(remaining)
            if not prediction.rejection:
                example = item.to_example(prediction).model_dump_json().encode()
                entries.append(b'{"row":%d,"example":%b}' % (row, example))
                metrics.posts.labels("answered").inc()
                continue
            is_failure = prediction.rejection == PREDICTOR_FAILED
            error = ErrorDetail(
                reason=item.with_public_names(prediction.rejection),
                hint=item.with_public_names(prediction.hint),
            )
        else:
            is_failure, error = False, item
        n_rejected += 1
        entries.append(RejectedPost(row=row, error=error).model_dump_json().encode())
        metrics.posts.labels("failed" if is_failure else "refused").inc()
    return b'{"answers":[%b]}' % b",".join(entries), n_rejected
