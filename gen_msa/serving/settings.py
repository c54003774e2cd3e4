"""Settings of the service: its model, where it listens, and every limit.

A token is never a setting, because settings are logged at the start: it comes from the environment
variable `GEN_MSA_TOKEN` or from the file that `token_file` names.

    load(ServeSettings, overrides=["model=echo", "port=0", "limits.posts=8"])
"""

import ipaddress
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gen_msa.errors import UserError, user_errors
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings

TOKEN_ENV_VAR = "GEN_MSA_TOKEN"  # noqa: S105  the variable's name
_MIN_TOKEN_CHARS = 16


class ServiceLimits(Settings):
    """Limits on requests and waiting times. A request over a limit is refused by its name."""

    body_bytes: int = Field(default=16 << 20, ge=1, le=256 << 20)
    """Bytes of one request's body, counted as they arrive."""
    bodies_bytes: int = Field(default=128 << 20, ge=1)
    """Bytes of the bodies of all requests together; over it a request is answered 503."""
    json_values: int = Field(default=100_000, ge=1)
    """Brackets, braces and commas in a body's JSON: each may need many times its byte in memory."""
    posts: int = Field(default=64, ge=1)
    """Posts of one request."""
    aspects: int = Field(default=64, ge=1)
    """Aspects of one post."""
    characters: int = Field(default=20_000, ge=1)
    """Characters of a post's text and its aspects together: each may become part of a prompt."""
    images: int = Field(default=4, ge=0)
    """Images of one post; `image` limits their bytes and pixels."""
    pixels: int = Field(default=160_000_000, ge=1)
    """Pixels of all images of a request by their headers: each takes time to decode."""
    requests: int = Field(default=128, ge=1)
    """Requests to explain in flight; the next is answered 429."""
    queue_rows: int = Field(default=4096, ge=1)
    """Rows (aspects of posts) that may wait in a lane; over it a request is answered 503."""
    queue_tokens: int = Field(default=4_000_000, ge=1)
    """Tokens, about, that may wait in a lane, three quarters of them for one client."""
    connections: int = Field(default=1024, ge=1)
    """Open connections; over it a request is answered 503 and its connection closed."""
    header_seconds: float = Field(default=10.0, gt=0)
    """From a connection's start, or its last answer, to a request's headers; in whole seconds."""
    body_seconds: float = Field(default=30.0, gt=0)
    """From a request's headers to its complete body."""
    seconds: float = Field(default=60.0, gt=0)
    """From a request's complete body to its answer."""
    write_seconds: float = Field(default=30.0, gt=0)
    """How long a client may accept no byte of its answer; on Linux only (TCP_USER_TIMEOUT)."""
    stop_seconds: float = Field(default=30.0, gt=0)
    """In which requests in flight may end once the service shuts down."""
    retry_seconds: int = Field(default=1, ge=1)
    """Value of `Retry-After`."""


class BatchingSettings(Settings):
    """How posts of several clients are batched."""

    rows: int = Field(default=64, ge=1)
    """Largest number of rows (aspects of posts) in a batch; a post is never split."""
    wait_ms: float = Field(default=5.0, ge=0.0, le=10_000)
    """How long the first post of a batch waits for others while other requests are on their way."""


class ServeSettings(PredictorSettings):
    """Settings of a model and of the service around it."""

    bad_image: Literal["text-only", "drop", "fail"] = "text-only"
    """What to do with a post whose image is broken: answer from the text and say so, as `explain`
    does, or refuse it with the reason."""
    host: str = "127.0.0.1"
    """Any other than this machine alone needs a token."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0 for any free port; the log says which."""
    token_file: str = ""
    """File with the bearer token. Empty: the environment variable GEN_MSA_TOKEN."""
    client_header: str = ""
    """Header in which your own proxy gives the client's address, such as X-Forwarded-For (its last
    value counts). Empty: the address of the connection. Clients take turns."""
    log_text: bool = False
    """Write the posts' texts into the log. Off by default: they may be personal data."""
    limits: ServiceLimits = ServiceLimits()
    batching: BatchingSettings = BatchingSettings()

    @model_validator(mode="after")
    def _check_no_remote_images(self) -> Self:
        if self.image.allowed_hosts:
            raise ValueError("a service fetches no images: image.allowed_hosts must be empty")
        return self

    def predictor_settings(self) -> PredictorSettings:
        """Return only what decides the model's answers; fields that were not given stay unset."""
        explicit_fields = self.model_fields_set & PredictorSettings.model_fields.keys()
        values = {name: getattr(self, name) for name in explicit_fields}
        return PredictorSettings.model_validate({**values, "bad_image": self.bad_image})


def client_name(address: str) -> str:
    """Return who is counted as one client: an IPv4 address, or the /64 network of an IPv6 one.

    Args:
        address: Address of the client; what is no address is a client of its own.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def client_share(limit: int) -> int:
    """Return how much of a limit one client may take: three quarters, so that others find room."""
    return max(1, math.ceil(0.75 * limit))


def is_loopback(host: str) -> bool:
    """Return whether `host` (a name or an address, perhaps in brackets) is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def load_token(settings: ServeSettings, environment: Mapping[str, str] = os.environ) -> str:
    """Load the bearer token.

    Args:
        settings: Settings with `token_file` and `host`.
        environment: Environment variables.

    Returns:
        The token; "" when there is none and none is needed.

    Raises:
        UserError: The file cannot be read, the token has under 16 characters or blanks, or others
            can
            reach the host and there is no token.
    """
    token, token_source = environment.get(TOKEN_ENV_VAR, ""), TOKEN_ENV_VAR
    if settings.token_file:
        token_source = settings.token_file
        with user_errors(f"the token of {token_source}"):
            token = Path(token_source).read_text(encoding="ascii").strip()
    if token or settings.token_file:
        if (
            len(token) < _MIN_TOKEN_CHARS
            or not token.isascii()
            or not token.isprintable()
            or " " in token
        ):
            hint = "create one: python -c 'import secrets; print(secrets.token_urlsafe())'"
            raise UserError(
                f"{token_source}: a token has 16 characters or more and no blanks", hint=hint
            )
        return token
    if not is_loopback(settings.host):
        raise UserError(
            f"others can reach host={settings.host}, and there is no token",
            hint=f"set {TOKEN_ENV_VAR}, or token_file=FILE, or host=127.0.0.1",
        )
    return ""
