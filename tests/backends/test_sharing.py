"""Calls of many threads meet in one event loop; whose caller is gone is cancelled."""

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from anyio.from_thread import BlockingPortalProvider

from gen_msa.feeding import at_once, awaited


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("asyncio-portal")]


class Shared:
    """As the http backend calls it."""

    def __init__(self):
        self.provider = BlockingPortalProvider()

    def run(self, work, *arguments):
        with self.provider as portal:
            return awaited(portal.start_task_soon(work, *arguments))


def test_callers_of_all_threads_meet_in_one_loop_and_it_ends_with_the_last():
    shared, meeting, loops = Shared(), [], set()

    async def meet(i):
        loops.add(id(asyncio.get_running_loop()))
        meeting.append(i)
        while len(meeting) < 8:
            await asyncio.sleep(0.001)
        return i

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: shared.run(meet, i), range(8), timeout=20)) == [*range(8)]
    assert len(loops) == 1
    assert threads() == []
    assert shared.run(meet, 8) == 8
    assert threads() == []


def test_what_fails_is_its_caller_s_alone():
    shared, begun = Shared(), threading.Event()

    async def fail():
        begun.set()
        raise RuntimeError("no")

    async def well():
        while not begun.is_set():
            await asyncio.sleep(0.001)
        return "well"

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(shared.run, well)
        with pytest.raises(RuntimeError, match="no"):
            shared.run(fail)
        assert other.result(20) == "well"
    assert threads() == []


def test_the_work_of_who_is_given_up_is_cancelled():
    """A job that stops leaves no paid questions behind."""
    shared, begun, ended = Shared(), threading.Event(), threading.Event()

    async def forever():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def soon():
        while not begun.is_set():
            await asyncio.sleep(0.001)

    works = [lambda: shared.run(soon), lambda: shared.run(forever), lambda: None]
    going = at_once(iter(works), 2)
    next(going)
    assert begun.wait(20)
    assert not ended.is_set()
    going.close()
    assert ended.wait(20)


def test_an_interrupted_caller_takes_its_work_back(monkeypatch):
    shared, ended = Shared(), threading.Event()

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gen_msa.feeding.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shared.run(forever)
    assert threads() == []


def test_cancelled_work_says_so():
    async def cancelled():
        raise asyncio.CancelledError

    with pytest.raises(CancelledError):
        Shared().run(cancelled)
