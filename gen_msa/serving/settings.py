"""What decides how the service behaves: its reader, where it listens, and every limit.

Knows nothing of HTTP. A token is never a setting, because settings are shown at the start: it comes
from the variable `GEN_MSA_TOKEN` or from the file that `token_file` names.

    load(ServeSettings, overrides=["reader=echo", "port=0", "limits.posts=8"])
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings

TOKEN_ENV_VAR = "GEN_MSA_TOKEN"  # noqa: S105  the variable's name
_MIN_TOKEN_CHARS = 16


class ServiceLimits(Settings):
    """What a client may ask, and how long anything may take. What is over is refused by name."""

    body_bytes: int = Field(default=16 << 20, ge=1, le=256 << 20)
    """Bytes of one request's body, counted as they come."""
    bodies_bytes: int = Field(default=128 << 20, ge=1)
    """Bytes of the bodies of all requests together; over it a request is asked to come back."""
    json_values: int = Field(default=100_000, ge=1)
    """Brackets, braces and commas in a body's JSON: each may cost memory many times its byte."""
    posts: int = Field(default=64, ge=1)
    """Posts of one request."""
    aspects: int = Field(default=64, ge=1)
    """Aspects of one post."""
    characters: int = Field(default=20_000, ge=1)
    """Characters of a post's text and its aspects together: each may become part of a question."""
    images: int = Field(default=4, ge=0)
    """Pictures of one post; their bytes and pixels are limited by `picture`."""
    pixels: int = Field(default=160_000_000, ge=1)
    """Pixels of all pictures of a request, as their headers say: each takes time to decode."""
    requests: int = Field(default=128, ge=1)
    """Requests to explain at once; the next is answered 429."""
    queue_rows: int = Field(default=4096, ge=1)
    """Rows (aspects of posts) that may wait for the reader; over it a request is answered 503."""
    connections: int = Field(default=1024, ge=1)
    """Open connections; over it a request is answered 503 and its connection closed."""
    header_seconds: float = Field(default=10.0, gt=0)
    """From a connection's start, or its last answer, to a request's headers; in whole seconds."""
    body_seconds: float = Field(default=30.0, gt=0)
    """From a request's headers to its whole body."""
    seconds: float = Field(default=60.0, gt=0)
    """From a request's whole body to its answer."""
    write_seconds: float = Field(default=30.0, gt=0)
    """How long a client may take none of its answer; bounded on Linux only (TCP_USER_TIMEOUT)."""
    stop_seconds: float = Field(default=30.0, gt=0)
    """In which requests in flight may end once the service is told to stop."""
    retry_seconds: int = Field(default=1, ge=1)
    """What `Retry-After` says."""


class BatchingSettings(Settings):
    """How posts of several clients are read together."""

    rows: int = Field(default=64, ge=1)
    """Most rows (aspects of posts) of one reading; one post is never parted."""
    wait_ms: float = Field(default=5.0, ge=0.0, le=10_000)
    """How long the first post of a reading waits for others, while others are on their way."""


class ServeSettings(PredictorSettings):
    """A reader's settings and how it is served."""

    bad_image: Literal["text-only", "drop", "fail"] = "drop"
    """A post whose picture is broken or refused is answered with the reason. `text-only` reads it
    without, and says so."""
    host: str = "127.0.0.1"
    """Any other than this machine alone demands a token."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0 for any that is free; the log says which."""
    token_file: str = ""
    """A file with the bearer token; without one the variable GEN_MSA_TOKEN is asked."""
    log_text: bool = False
    """Write the posts' texts into the log. They are somebody's words: off unless you ask."""
    limits: ServiceLimits = ServiceLimits()
    batching: BatchingSettings = BatchingSettings()

    @model_validator(mode="after")
    def _check_no_remote_images(self) -> Self:
        if self.image.allowed_hosts:
            raise ValueError("a service fetches no pictures: picture.allowed_hosts must be empty")
        return self

    def predictor_settings(self) -> PredictorSettings:
        """Only what decides the reader's answers; what was not given stays not given."""
        explicit_fields = self.model_fields_set & PredictorSettings.model_fields.keys()
        values = {name: getattr(self, name) for name in explicit_fields}
        return PredictorSettings.model_validate({**values, "bad_picture": self.bad_image})


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, perhaps in brackets) is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def load_token(settings: ServeSettings, environment: Mapping[str, str] = os.environ) -> str:
    """The bearer token; `""` when there is none and none is needed.

    Raises `UserError` for an unreadable file, a token under 16 characters or with blanks, and for
    a host that others can reach without any token.
    """
    token, token_source = environment.get(TOKEN_ENV_VAR, ""), TOKEN_ENV_VAR
    if settings.token_file:
        token_source = settings.token_file
        try:
            token = Path(token_source).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as e:
            raise UserError(f"the token cannot be read: {token_source}: {e}") from None
    if token or settings.token_file:
        if (
            len(token) < _MIN_TOKEN_CHARS
            or not token.isascii()
            or not token.isprintable()
            or " " in token
        ):
            hint = "make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
            raise UserError(
                f"{token_source}: a token has 16 characters or more, no blanks", hint=hint
            )
        return token
    if not is_loopback(settings.host):
        raise UserError(
            f"host={settings.host} can be reached by others, and there is no token",
            hint=f"set {TOKEN_ENV_VAR}, or token_file=FILE, or host=127.0.0.1",
        )
    return ""
