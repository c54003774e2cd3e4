"""Errors of a request, or of one post in it: the reason and a hint.

A `RequestError` ends a request; an `InvalidPost` is the answer for one post, and the other posts
are answered.

    raise RequestError(413, "the body is over 16 bytes", "send fewer posts at a time")
"""

from gen_msa.types import FrozenModel


class ErrorDetail(FrozenModel):
    """Error as the client sees it; never a stack trace or a path on the server's disk."""

    reason: str
    hint: str = ""


class ErrorResponse(FrozenModel):
    """Body of every answer that is not 200."""

    error: ErrorDetail


class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, reason: str, hint: str, *, retry_after: int | None = None
    ) -> None:
        """Build the error.

        Args:
            status: HTTP status.
            reason: What is wrong.
            hint: How to fix it.
            retry_after: Seconds after which the client may try again; None to send no
                `Retry-After`.
        """
        super().__init__(status, reason)
        self.status = status
        self.detail = ErrorDetail(reason=reason, hint=hint)
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}

    def body(self) -> bytes:
        """Return the answer's JSON."""
        return ErrorResponse(error=self.detail).model_dump_json().encode()


class InvalidPost(Exception):
    """A post that cannot be answered as it was sent."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.detail = ErrorDetail(reason=reason, hint=hint)
