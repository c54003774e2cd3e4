"""The log: one JSON object a line, with the same keys always.

    {"time": "2026-01-02T03:04:05.678Z", "event": "request", "request": "4f…", "status": 200, …}

Knows nothing of posts: what is written is what is handed over. Of an error it writes the type and
the place, never the words, which may be a post's.
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
    """Writes events to a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: standard error if not given."""
        self._handler = logging.StreamHandler(stream or sys.stderr)
        self._handler.setFormatter(_JsonFormatter())

    def write(self, event: str, **fields: Any) -> None:
        """One line. A stream that is gone costs the line, and is said on standard error."""
        record = logging.LogRecord("gen_msa", logging.INFO, "", 0, event, None, None)
        record.facts = fields
        self._handler.handle(record)

    def error(self, event: str, error: BaseException, **fields: Any) -> None:
        """One line about an error that nobody expected."""
        self.write(event, **fields, error=type(error).__name__, at=_location(error))

    @contextmanager
    def capture_server_logs(self) -> Iterator[None]:
        """Meanwhile the server's own warnings come here, too."""
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
        fields = getattr(record, "facts", None)
        if fields is not None:
            return json.dumps({**line, "event": record.getMessage(), **fields}, default=str)
        line |= {"event": "server", "says": record.getMessage().strip()}
        if record.exc_info and record.exc_info[1]:
            line |= {
                "error": type(record.exc_info[1]).__name__,
                "at": _location(record.exc_info[1]),
            }
        return json.dumps(line)


def _location(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
