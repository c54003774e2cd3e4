"""Define a post as a client sends it and the answer it gets, and convert to and from `Post`.

A post takes the keys of a row of `gen-msa explain`: `text`, `image` or `images`, `aspects`, `id`,
`meta`. Without an id it gets one from its request; an aspect without an offset is located in the
text. A key that is like a known one is refused with it; other keys go to `meta`.

    {"text": "Great screen, awful battery", "aspects": ["screen", {"term": "battery", "start": 20}]}
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from gen_msa import jsonl
from gen_msa.data.formats import intended_key, locate_aspects
from gen_msa.errors import did_you_mean
from gen_msa.predictors import Prediction
from gen_msa.predictors.image_counts import unseen_images
from gen_msa.serving.batcher import PREDICTOR_FAILED
from gen_msa.serving.errors import ErrorDetail, InvalidPost
from gen_msa.serving.prometheus import ServiceMetrics
from gen_msa.serving.request_body import StoredImage, UploadFolder
from gen_msa.serving.settings import ServiceLimits
from gen_msa.types import Aspect, Example, FrozenModel, Media, Opinion, Post

_MAX_ID = (1 << 63) - 1
_HINT = "send an object with text and perhaps image, images, aspects, id, meta; see /docs"


class PostRequest(BaseModel):
    """One post to be explained."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    text: str = ""
    """Needed for a post without an image."""
    id: (
        Annotated[str, Field(max_length=200)]
        | Annotated[int, Strict(), Field(ge=-_MAX_ID, le=_MAX_ID)]
        | None
    ) = None
    """Id of the post in the answer, where a number is text, as in a row of `explain`. Default: the
    request's id and the number of the post."""
    aspects: tuple[str | Aspect, ...] = ()
    """What to ask about. A string is located in the text; with none the model finds aspects."""
    image: str | None = None
    """`data:image/…;base64,…`, or the name of an uploaded file. URLs are refused."""
    images: str | tuple[str, ...] = ()
    """Further images, as for `image`."""
    meta: dict[str, JsonValue] = Field(default_factory=dict)
    """Any JSON; it comes back in the answer."""

    @field_validator("aspects", "images", "meta", mode="before")
    @classmethod
    def _none_to_empty(cls, value: object, info: ValidationInfo) -> object:
        """Take null for empty, as a row of `gen-msa explain` does."""
        if value is not None:
            return value
        return {} if info.field_name == "meta" else ()

    def all_images(self) -> tuple[str, ...]:
        """Return the images in order: `image`, then `images`."""
        listed_images = (self.images,) if isinstance(self.images, str) else self.images
        return (*((self.image,) if self.image else ()), *listed_images)


class UnseenImage(FrozenModel):
    """An image of a post that the model did not see."""

    image: str
    """The image as the answer's `post.media` names it."""
    reason: str
    """`corrupt`, `too_large`, … or `not used by this model`."""


@dataclass(frozen=True)
class AcceptedPost:
    """A post that will be predicted."""

    post: Post
    """The post as the model sees it."""
    images: tuple[StoredImage, ...] = field(default=())

    def to_example(self, prediction: Prediction) -> Example:
        """Build the answer, in which images have the names that the client knows."""
        if not self.images:
            return Example(post=self.post, opinions=prediction.opinions)
        media = tuple(Media(kind="image", path=i.public_name) for i in self.images)
        post = self.post.model_copy(update={"media": media})
        return Example(post=post, opinions=tuple(map(self._rename_in_opinion, prediction.opinions)))

    def unseen_images(self, prediction: Prediction) -> tuple[UnseenImage, ...]:
        """Return the images that the model did not see, under the names that the client knows."""
        if not self.images or not prediction.opinions:
            return ()
        public_names = {i.path: i.public_name for i in self.images}
        unseen = unseen_images(self.post, prediction.opinions[0].provenance)
        return tuple(UnseenImage(image=public_names[p], reason=r) for p, r in unseen)

    def with_public_names(self, message: str) -> str:
        """Replace stored paths of images in a message by the names that the client knows."""
        for stored_image in reversed(self.images):  # …/10 before …/1, which is its beginning
            message = message.replace(stored_image.path, stored_image.public_name)
        return message

    def _rename_in_opinion(self, opinion: Opinion) -> Opinion:
        provenance = {k: self.with_public_names(v) for k, v in opinion.provenance.items()}
        return opinion.model_copy(update={"provenance": provenance})


def accept_post(
    raw: Any, default_id: str, limits: ServiceLimits, folder: UploadFolder
) -> AcceptedPost:
    """Validate one row of a request and store its images.

    Args:
        raw: The row as it was sent.
        default_id: Id for a post without one.
        limits: Limits on a post.
        folder: Folder of the request's images.

    Returns:
        The post as the model sees it.

    Raises:
        InvalidPost: Anything is wrong with this row.
    """
    _check_limits(raw, limits)
    try:
        post_request = PostRequest.model_validate(_move_other_keys(raw))
        stored_images = tuple(folder.store(name) for name in post_request.all_images())
        post = Post(
            id=default_id if post_request.id in (None, "") else str(post_request.id),
            text=post_request.text,
            media=tuple(Media(kind="image", path=i.path) for i in stored_images),
            aspects=_locate_request_aspects(post_request),
            meta=post_request.meta,
        )
    except ValidationError as e:
        raise InvalidPost(jsonl.format_validation_error(e)[:500], _HINT) from None
    return AcceptedPost(post, stored_images)


def _check_limits(raw: Any, limits: ServiceLimits) -> None:
    """Count before the row is parsed."""
    if not isinstance(raw, dict):
        raise InvalidPost("a post must be a JSON object", _HINT)
    aspects, images = _list_field(raw, "aspects"), _list_field(raw, "images")
    n_images = len(images) + isinstance(raw.get("images"), str) + bool(raw.get("image"))
    texts = [raw.get("text"), *(a.get("term") if isinstance(a, dict) else a for a in aspects)]
    for count, maximum, unit in (
        (len(aspects), limits.aspects, "aspects"),
        (n_images, limits.images, "images"),
        (sum(len(t) for t in texts if isinstance(t, str)), limits.characters, "characters"),
    ):
        if count > maximum:
            raise InvalidPost(f"{count:,} {unit}, over the limit of {maximum:,}", "send fewer")


def _move_other_keys(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose other keys are in its `meta`, as `gen-msa explain` reads it.

    Raises:
        InvalidPost: A key is like a known one, or is in `meta`, too.
    """
    known_keys = PostRequest.model_fields
    others = {key: value for key, value in raw.items() if key not in known_keys}
    for key in others:
        if intended := intended_key(key, known_keys, is_closed=True):
            raise InvalidPost(f"unknown key {key[:60]!r}", did_you_mean(intended, known_keys))
    meta = raw.get("meta")
    if not others or not isinstance(meta, dict | None):
        return raw
    if both := sorted(others.keys() & (meta or {}).keys()):
        raise InvalidPost(f"{both[0][:60]!r} is both in the post and in its meta", "keep one")
    return {**{k: v for k, v in raw.items() if k in known_keys}, "meta": {**(meta or {}), **others}}


def _list_field(raw: dict[str, Any], key: str) -> list[Any]:
    """Return the list below `key`; empty for any other value, which validation refuses."""
    value = raw.get(key)
    return value if isinstance(value, list) else []


def _locate_request_aspects(post_request: PostRequest) -> tuple[Aspect, ...]:
    """Locate the aspects without a key `start` in the text, in order of mention."""
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


# The answer to a request to explain.


class AnsweredPost(FrozenModel):
    """A post with its opinions."""

    row: int = Field(ge=1)
    """Number of the post in the request, from 1."""
    example: Example
    unseen_images: tuple[UnseenImage, ...] = ()
    """Images of the post that the model did not see; left out when it saw all."""


class RejectedPost(FrozenModel):
    """A post without an answer."""

    row: int = Field(ge=1)
    """Number of the post in the request, from 1."""
    error: ErrorDetail


class ExplainResponse(FrozenModel):
    """Answer to a request to explain: one entry for each post, in order."""

    answers: tuple[AnsweredPost | RejectedPost, ...]


def build_response(
    rows: Sequence[AcceptedPost | ErrorDetail],
    predictions: Sequence[Prediction],
    metrics: ServiceMetrics,
) -> tuple[bytes, int]:
    """Build the answer and count its outcomes.

    Args:
        rows: Rows of the request: accepted posts, and the errors of the others.
        predictions: One prediction for each accepted post, in order.
        metrics: Metrics to update.

    Returns:
        The JSON of an `ExplainResponse`, and the number of posts without an answer.
    """
    remaining = iter(predictions)
    entries: list[bytes] = []
    n_rejected = 0
    for row, item in enumerate(rows, 1):
        if isinstance(item, AcceptedPost):
            prediction = next(remaining)
            if not prediction.rejection:
                answer = AnsweredPost(
                    row=row,
                    example=item.to_example(prediction),
                    unseen_images=item.unseen_images(prediction),
                )
                left_out = None if answer.unseen_images else {"unseen_images"}
                entries.append(answer.model_dump_json(exclude=left_out).encode())
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
