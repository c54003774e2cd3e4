"""Points at which long work may pause for shorter work, or end because nobody waits for it.

Predictors call `preemption_point` between pieces of work: forward passes, decoded tokens, images,
parsed texts. Outside a service it does nothing.

    with preemption_callback(pause_or_cancel):
        predictor.predict(posts)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_callback: ContextVar[Callable[[], None] | None] = ContextVar("preemption_callback", default=None)


class WorkCancelled(BaseException):
    """Nobody waits for the result any more.

    It is no `Exception`, so that no part of a predictor takes it for the failure of a post.
    """


def preemption_point() -> None:
    """Let the owner of this thread pause the work.

    Raises:
        WorkCancelled: The owner has ended the work.
    """
    if callback := _callback.get():
        callback()


@contextmanager
def preemption_callback(callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` at every preemption point of this thread while the context is open.

    Args:
        callback: May block, or raise `WorkCancelled`; no lock of a predictor is held around it.
    """
    token = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(token)
