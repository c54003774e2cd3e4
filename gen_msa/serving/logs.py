"""Write the log: one JSON object a line, always with the same keys.

    {"time": "2026-01-02T03:04:05.678Z", "event": "request", "request": "4f…", "status": 200, …}

Of an error only type and location are logged, never its message, which may hold a post's text.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO


class JsonLog:
    """Log that writes events to a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`; standard error if not given."""
        self._handler = logging.StreamHandler(stream or sys.stderr)
        self._handler.setFormatter(_JsonFormatter())

    def write(self, event: str, **fields: Any) -> None:
        """Write one line. A failing stream loses the line; the error goes to standard error.

        Args:
            event: Kind of event.
            **fields: Further keys of the line.
        """
        record = logging.LogRecord("gen_msa", logging.INFO, "", 0, event, None, None)
        record.fields = fields
        self._handler.handle(record)

    def error(self, event: str, error: BaseException, **fields: Any) -> None:
        """Write one line about an unexpected error: its type and location.

        Args:
            event: Kind of event.
            error: The error.
            **fields: Further keys of the line.
        """
        self.write(event, **fields, error=type(error).__name__, at=_location(error))

    @contextmanager
    def capture_server_logs(self) -> Iterator[None]:
        """Redirect the web server's own warnings to this log while the context is open."""
        logger = logging.getLogger("uvicorn.error")
        previous = logger.level, logger.propagate
        logger.addHandler(self._handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(self._handler)
            logger.setLevel(previous[0])
            logger.propagate = previous[1]


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        timestamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": timestamp.replace("+00:00", "Z")}
        fields = getattr(record, "fields", None)
        if fields is not None:
            return json.dumps({**line, "event": record.getMessage(), **fields}, default=str)
        line |= {"event": "server", "message": record.getMessage().strip()}
        if record.exc_info and record.exc_info[1]:
            line |= {
                "error": type(record.exc_info[1]).__name__,
                "at": _location(record.exc_info[1]),
            }
        return json.dumps(line)


def _location(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
