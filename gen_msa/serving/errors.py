"""What is wrong with a request, or with one post of it: the reason and what would mend it.

Knows nothing of HTTP but its status numbers. A `Refusal` ends a request; a `BadPost` is the answer
of one row, and the others are read.

    raise Refusal(413, "the body is over 16 bytes", "send fewer posts at a time")
"""

from gen_msa.types import FrozenModel


class ErrorDetail(FrozenModel):
    """What a client is told; never a stack trace, never a name on the server's disk."""

    reason: str
    hint: str = ""


class ErrorResponse(FrozenModel):
    """The body of every answer that is not 200."""

    error: ErrorDetail


class RequestError(Exception):
    """A request that is not answered."""

    def __init__(
        self, status: int, reason: str, hint: str, *, retry_after: int | None = None
    ) -> None:
        """`retry`: seconds after which the client may come back."""
        super().__init__(status, reason)
        self.status = status
        self.detail = ErrorDetail(reason=reason, hint=hint)
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}

    def body(self) -> bytes:
        """The answer's JSON."""
        return ErrorResponse(error=self.detail).model_dump_json().encode()


class InvalidPost(Exception):
    """A post that cannot be read as it was sent."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.detail = ErrorDetail(reason=reason, hint=hint)
