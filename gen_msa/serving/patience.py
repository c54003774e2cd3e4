"""uvicorn's HTTP/1.1 connection with an end to its patience: headers and answers take bounded time.

uvicorn ends an idle connection, and `bodies` a slow body; but a client that sends its headers byte
by byte, or never takes its answer, would be waited for without end. Here a connection is looked at
a few times within its limit, and cut where nothing has come of it. (hypercorn bounds headers but
not answers; granian bounds both but serves from processes of its own, away from the reader.)
Knows nothing of requests.

    uvicorn.Config(app, http=patient(limits))
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from gen_msa.serving.settings import Limits

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: %d\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)
_LOOKS = 4
"""Looks within the shortest limit: what is over its limit is cut at most a quarter later."""


class Patient(H11Protocol):
    """One connection."""

    limits: Limits
    _look: asyncio.TimerHandle | None = None
    _stuck: tuple[object, str] = (None, "")
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch it, or turn it away where there are too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > self.limits.connections:
            transport.write(_FULL % self.limits.retry_seconds)
            transport.close()
        self._again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch it no more."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _again(self) -> None:
        shortest = min(self.limits.header_seconds, self.limits.write_seconds)
        self._look = self.loop.call_later(shortest / _LOOKS, self._looked)

    def _looked(self) -> None:
        now = self.loop.time()
        stuck: tuple[object, str] = (self.cycle, self._waits_for())
        if stuck != self._stuck:
            self._stuck = stuck
            # Only a connection's first headers are counted from its start.
            self._since = self._since if stuck == (None, "headers") else now
        most = {"headers": self.limits.header_seconds, "client": self.limits.write_seconds}
        if stuck[1] in most and now - self._since >= most[stuck[1]]:
            self.transport.abort()
            return
        self._again()

    def _waits_for(self) -> str:
        """`client` to take an answer, `headers` of the next request, or nothing of the client's."""
        if self.transport.get_write_buffer_size():
            return "client"
        if self.cycle is None or self.cycle.response_complete:
            return "headers"
        return ""


def patient(limits: Limits) -> type[Patient]:
    """The protocol for uvicorn with these limits."""
    return type("Patient", (Patient,), {"limits": limits})
