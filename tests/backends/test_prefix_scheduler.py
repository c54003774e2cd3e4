"""In which order a server is asked: each once, leaders first, and what is shared is had free."""

import asyncio
import functools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.backends._prefix_scheduler import (
    PrefixScheduler,
    group_by_post,
    instruction_prefix,
    post_prefix,
)
from gen_msa.chat import Chat, ImageInput, Request, TextInput, Turn
from tests.fixtures.benchmarks import load_benchmark
from tests.fixtures.fake_openai import FakeOpenAI, echo_answer
from tests.fixtures.http_client import client

shareable = load_benchmark("vllm_prefix").shareable

RULES = "Say how the post feels about one thing. " * 12


def build_request(post, aspect, *, rules=RULES, image_digit=None):
    images = (ImageInput(path="/p", sha256=image_digit * 64, max_pixels=9),) if image_digit else ()
    post_parts = (TextInput(text="Post: "), TextInput(text=post, untrusted=True))
    user = Turn(role="user", parts=(*images, *post_parts, TextInput(text=f" About {aspect}?")))
    turns = (Turn(role="system", parts=(TextInput(text=rules),)), user)
    return Request(chat=Chat(turns=turns), max_new_tokens=4)


@st.composite
def request_batches(draw):
    rows = draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "R"])), max_size=25)
    )
    return [
        build_request(f"post {p}", f"aspect {i}", rules=r or RULES) for i, (p, r) in enumerate(rows)
    ]


@given(request_batches(), st.integers(1, 6), st.booleans())
def test_each_request_is_sent_once_within_limit_and_after_its_leader(requests, limit, share):
    active, peak, started, finished = set(), [0], [], []

    async def send(i):
        active.add(i)
        started.append((i, frozenset(finished)))
        peak[0] = max(peak[0], len(active))
        await asyncio.sleep(0)
        active.remove(i)
        finished.append(i)

    scheduler = PrefixScheduler(limit, share=share)
    asyncio.run(scheduler.run(requests, send))
    assert sorted(finished) == list(range(len(requests)))
    assert peak[0] <= limit
    if not share:
        assert [i for i, _ in started] == list(range(len(requests)))
        return
    before = dict(started)
    for leader, *others in group_by_post(requests):
        assert all(leader in before[i] for i in others)
    prefixes = {instruction_prefix(r.chat) for r in requests}
    assert prefixes == scheduler.read_instructions
    for prefix in prefixes:
        positions = [i for i, _ in started if instruction_prefix(requests[i].chat) == prefix]
        assert all(positions[0] in before[i] for i in positions[1:])


def test_known_instruction_delays_no_request():
    requests = [build_request(f"post {i}", "soup") for i in range(4)]
    release, started = asyncio.Event(), []

    async def send(i):
        started.append(i)
        if len(started) == 4:
            release.set()
        await asyncio.wait_for(release.wait(), 5)

    scheduler = PrefixScheduler(4)
    scheduler.read_instructions.add(instruction_prefix(requests[0].chat))
    asyncio.run(scheduler.run(requests, send))
    assert sorted(started) == [0, 1, 2, 3]


def test_failing_request_ends_all():
    async def send(i):
        if i == 1:
            raise RuntimeError("no")
        await asyncio.sleep(0)

    requests = [build_request(f"post {i}", "soup") for i in range(5)]
    with pytest.raises(ExceptionGroup):
        asyncio.run(PrefixScheduler(2).run(requests, send))


@given(request_batches(), request_batches(), st.integers(1, 4))
def test_earlier_caller_goes_first(first, second, limit):
    scheduler, started, active, peak = PrefixScheduler(limit, share=False), [], [0], [0]

    async def send(caller, i):
        started.append((caller, i))
        active[0] += 1
        peak[0] = max(peak[0], active[0])
        await asyncio.sleep(0)
        active[0] -= 1

    async def run_both():
        async with asyncio.TaskGroup() as group:
            for caller, requests in enumerate((first, second)):
                group.create_task(scheduler.run(requests, functools.partial(send, caller)))

    asyncio.run(run_both())
    assert started == [(0, i) for i in range(len(first))] + [(1, i) for i in range(len(second))]
    assert peak[0] <= limit


def test_other_caller_proceeds_while_one_waits_for_leader():
    scheduler, release, started = PrefixScheduler(4), asyncio.Event(), []

    async def slow(i):
        started.append(f"slow {i}")
        await asyncio.wait_for(release.wait(), 5)

    async def quick(i):
        started.append(f"quick {i}")
        release.set()

    async def run_both():
        async with asyncio.TaskGroup() as group:
            group.create_task(
                scheduler.run([build_request("one post", a) for a in ("a", "b")], slow)
            )
            group.create_task(scheduler.run([build_request("another", "a", rules="R")], quick))

    asyncio.run(run_both())
    assert started == ["slow 0", "quick 0", "slow 1"]


def test_cancelled_or_failed_call_frees_its_slots():
    scheduler = PrefixScheduler(2)

    async def stuck(i):
        await asyncio.Event().wait()

    async def broken(i):
        raise RuntimeError("no")

    async def run_calls():
        requests = [build_request(f"post {i}", "a", rules="") for i in range(5)]
        for n_steps in range(4):
            task = asyncio.create_task(scheduler.run(requests, stuck))
            for _ in range(n_steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        with pytest.raises(ExceptionGroup):
            await scheduler.run(requests, broken)
        sent = []

        async def succeed(i):
            sent.append(i)

        await asyncio.wait_for(scheduler.run(requests, succeed), 5)
        return sent

    assert asyncio.run(run_calls()) == [0, 1, 2, 3, 4]


def test_self_cancelled_request_ends_its_call():
    async def cancelled(i):
        raise asyncio.CancelledError

    async def run_call():
        await asyncio.wait_for(
            PrefixScheduler(2).run(
                [build_request("post", "a"), build_request("post", "b")], cancelled
            ),
            5,
        )

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_call())


def test_post_prefix_depends_on_text_and_images():
    request_a, request_b = build_request("soup", "a"), build_request("soup", "b")
    assert post_prefix(request_a.chat) == post_prefix(request_b.chat)
    assert post_prefix(request_a.chat) != post_prefix(
        build_request("soup", "a", image_digit="a").chat
    )
    without_post = Request(
        chat=Chat(turns=(Turn(role="user", parts=(TextInput(text="x"),)),)), max_new_tokens=1
    )
    assert instruction_prefix(without_post.chat) == ()
    assert group_by_post([without_post, without_post, request_a]) == [[0, 1], [2]]


class FakePrefixCache:
    """A server's prefix cache at its worst: it has a prompt's blocks when that was answered.

    An answer takes so long that all that are asked together have been, however busy the machine.
    """

    def __init__(self, block=16):
        self.block, self.cached, self.hits, self.prompts = block, set(), 0, []
        self.lock = threading.Lock()

    def answer(self, body):
        prompt = "".join(m["content"] for m in body["messages"])
        prefixes = [prompt[:n] for n in range(self.block, len(prompt), self.block)]
        with self.lock:
            self.prompts.append(prompt)
            self.hits += self.block * sum(h in self.cached for h in prefixes)
        time.sleep(0.3)
        with self.lock:
            self.cached.update(prefixes)
        return echo_answer(body)

    def hit_rate(self):
        """Of the tokens (here: characters) that could have been had, those that were."""
        return self.hits / shareable([list(p) for p in self.prompts], self.block)


def test_prefix_order_reaches_95_percent_cache_hits():
    requests = [
        build_request(
            f"{i} the soup was cold and the waiter was slow to bring the bill " * 3, aspect
        )
        for i in range(12)
        for aspect in ("soup", "waiter", "bill", "evening")
    ]
    hit_rates = {}
    for share in (True, False):
        cache = FakePrefixCache()
        with FakeOpenAI(answer=cache.answer) as server:
            completions = client(server, batch_size=8, share_prefix=share).complete(requests)
        assert len(completions) == len(cache.prompts) == 48
        hit_rates[share] = cache.hit_rate()
    assert hit_rates[True] >= 0.95
    assert hit_rates[False] < 0.8


def test_completions_keep_request_order():
    requests = [build_request(f"post {i % 5}", f"aspect {i}") for i in range(20)]
    with FakeOpenAI() as server:
        with_sharing, without_sharing = (
            client(server, share_prefix=share).complete(requests) for share in (True, False)
        )
    assert [c.text for c in with_sharing] == [c.text for c in without_sharing]
    assert [f"aspect {i}?" in c.text for i, c in enumerate(with_sharing)] == [True] * 20
