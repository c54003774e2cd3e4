"""Calls of many threads share one event loop; work of a cancelled caller is cancelled."""

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from anyio.from_thread import BlockingPortalProvider

from gen_msa.prefetch import awaited, ordered_concurrent_map


def portal_threads():
    return [t for t in threading.enumerate() if t.name.startswith("asyncio-portal")]


class SharedPortal:
    """An event loop as the HTTP backend uses it."""

    def __init__(self):
        self.provider = BlockingPortalProvider()

    def run(self, func, *arguments):
        with self.provider as portal:
            return awaited(portal.start_task_soon(func, *arguments))


def test_callers_of_all_threads_share_one_event_loop():
    portal, arrived, loops = SharedPortal(), [], set()

    async def meet(i):
        loops.add(id(asyncio.get_running_loop()))
        arrived.append(i)
        while len(arrived) < 8:
            await asyncio.sleep(0.001)
        return i

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: portal.run(meet, i), range(8), timeout=20)) == [*range(8)]
    assert len(loops) == 1
    assert portal_threads() == []
    assert portal.run(meet, 8) == 8
    assert portal_threads() == []


def test_failure_reaches_only_its_caller():
    portal, started = SharedPortal(), threading.Event()

    async def fail():
        started.set()
        raise RuntimeError("no")

    async def succeed():
        while not started.is_set():
            await asyncio.sleep(0.001)
        return "well"

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(portal.run, succeed)
        with pytest.raises(RuntimeError, match="no"):
            portal.run(fail)
        assert future.result(20) == "well"
    assert portal_threads() == []


def test_abandoned_work_is_cancelled():
    """A job that stops leaves no paid requests running."""
    portal, started, finished = SharedPortal(), threading.Event(), threading.Event()

    async def forever():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            finished.set()

    async def soon():
        while not started.is_set():
            await asyncio.sleep(0.001)

    tasks = [lambda: portal.run(soon), lambda: portal.run(forever), lambda: None]
    results = ordered_concurrent_map(iter(tasks), 2)
    next(results)
    assert started.wait(20)
    assert not finished.is_set()
    results.close()
    assert finished.wait(20)


def test_interrupted_caller_cancels_its_work(monkeypatch):
    portal, finished = SharedPortal(), threading.Event()

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            finished.set()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gen_msa.prefetch.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        portal.run(forever)
    assert portal_threads() == []


def test_cancelled_work_raises_cancelled_error():
    async def cancelled():
        raise asyncio.CancelledError

    with pytest.raises(CancelledError):
        SharedPortal().run(cancelled)
