"""What is wrong with a request, or with one post of it: the reason and what would mend it.

Knows nothing of HTTP but its status numbers. A `Refusal` ends a request; a `BadPost` is the answer
of one row, and the others are read.

    raise Refusal(413, "the body is over 16 bytes", "send fewer posts at a time")
"""

from gen_msa.types import Noun


class Problem(Noun):
    """What a client is told; never a stack trace, never a name on the server's disk."""

    reason: str
    mend: str = ""


class Told(Noun):
    """The body of every answer that is not 200."""

    error: Problem


class Refusal(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, reason: str, mend: str, *, retry: int | None = None) -> None:
        """`retry`: seconds after which the client may come back."""
        super().__init__(status, reason)
        self.status = status
        self.problem = Problem(reason=reason, mend=mend)
        self.headers = {} if retry is None else {"retry-after": str(retry)}

    def body(self) -> bytes:
        """The answer's JSON."""
        return Told(error=self.problem).model_dump_json().encode()


class BadPost(Exception):
    """A post that cannot be read as it was sent."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.problem = Problem(reason=reason, mend=mend)
