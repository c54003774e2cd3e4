"""In which order a server is asked: each once, leaders first, and what is shared is had free."""

import asyncio
import functools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.backends._ordering import Line, groups, instruction, through_post
from gen_msa.chat import Chat, Picture, Request, Text, Turn
from tests.fixtures.benches import bench
from tests.fixtures.fake_openai import FakeOpenAI, plain
from tests.fixtures.http_client import client

shareable = bench("vllm_prefix").shareable

RULES = "Say how the post feels about one thing. " * 12


def ask(post, aspect, *, rules=RULES, picture=None):
    seen = (Picture(path="/p", sha256=picture * 64, max_pixels=9),) if picture else ()
    words = (Text(text="Post: "), Text(text=post, untrusted=True))
    user = Turn(role="user", parts=(*seen, *words, Text(text=f" About {aspect}?")))
    turns = (Turn(role="system", parts=(Text(text=rules),)), user)
    return Request(chat=Chat(turns=turns), max_new_tokens=4)


@st.composite
def jobs(draw):
    rows = draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "R"])), max_size=25)
    )
    return [ask(f"post {p}", f"aspect {i}", rules=r or RULES) for i, (p, r) in enumerate(rows)]


@given(jobs(), st.integers(1, 6), st.booleans())
def test_each_is_asked_once_few_at_once_and_none_before_its_leader(requests, at_once, share):
    running, most, begun, ended = set(), [0], [], []

    async def asked(i):
        running.add(i)
        begun.append((i, frozenset(ended)))
        most[0] = max(most[0], len(running))
        await asyncio.sleep(0)
        running.remove(i)
        ended.append(i)

    line = Line(at_once, share=share)
    asyncio.run(line.through(requests, asked))
    assert sorted(ended) == list(range(len(requests)))
    assert most[0] <= at_once
    if not share:
        assert [i for i, _ in begun] == list(range(len(requests)))
        return
    before = dict(begun)
    for leader, *others in groups(requests):
        assert all(leader in before[i] for i in others)
    told = {instruction(r.chat) for r in requests}
    assert told == line.known
    for prefix in told:
        same = [i for i, _ in begun if instruction(requests[i].chat) == prefix]
        assert all(same[0] in before[i] for i in same[1:])


def test_an_instruction_that_is_known_holds_nobody_back():
    requests = [ask(f"post {i}", "soup") for i in range(4)]
    gate, begun = asyncio.Event(), []

    async def asked(i):
        begun.append(i)
        if len(begun) == 4:
            gate.set()
        await asyncio.wait_for(gate.wait(), 5)

    line = Line(4)
    line.known.add(instruction(requests[0].chat))
    asyncio.run(line.through(requests, asked))
    assert sorted(begun) == [0, 1, 2, 3]


def test_what_goes_wrong_ends_all():
    async def asked(i):
        if i == 1:
            raise RuntimeError("no")
        await asyncio.sleep(0)

    requests = [ask(f"post {i}", "soup") for i in range(5)]
    with pytest.raises(ExceptionGroup):
        asyncio.run(Line(2).through(requests, asked))


@given(jobs(), jobs(), st.integers(1, 4))
def test_two_callers_share_the_line_and_the_earlier_goes_first(first, second, at_once):
    line, begun, running, most = Line(at_once, share=False), [], [0], [0]

    async def asked(caller, i):
        begun.append((caller, i))
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0)
        running[0] -= 1

    async def both():
        async with asyncio.TaskGroup() as group:
            for caller, requests in enumerate((first, second)):
                group.create_task(line.through(requests, functools.partial(asked, caller)))

    asyncio.run(both())
    assert begun == [(0, i) for i in range(len(first))] + [(1, i) for i in range(len(second))]
    assert most[0] <= at_once


def test_while_one_caller_waits_for_a_leader_the_next_is_asked():
    line, gate, begun = Line(4), asyncio.Event(), []

    async def slow(i):
        begun.append(f"slow {i}")
        await asyncio.wait_for(gate.wait(), 5)

    async def quick(i):
        begun.append(f"quick {i}")
        gate.set()

    async def both():
        async with asyncio.TaskGroup() as group:
            group.create_task(line.through([ask("one post", a) for a in ("a", "b")], slow))
            group.create_task(line.through([ask("another", "a", rules="R")], quick))

    asyncio.run(both())
    assert begun == ["slow 0", "quick 0", "slow 1"]


def test_a_caller_who_leaves_or_fails_gives_its_places_back():
    line = Line(2)

    async def stuck(i):
        await asyncio.Event().wait()

    async def broken(i):
        raise RuntimeError("no")

    async def leave():
        requests = [ask(f"post {i}", "a", rules="") for i in range(5)]
        for moment in range(4):
            call = asyncio.create_task(line.through(requests, stuck))
            for _ in range(moment):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
        with pytest.raises(ExceptionGroup):
            await line.through(requests, broken)
        done = []

        async def well(i):
            done.append(i)

        await asyncio.wait_for(line.through(requests, well), 5)
        return done

    assert asyncio.run(leave()) == [0, 1, 2, 3, 4]


def test_a_question_that_is_cancelled_by_itself_ends_its_call():
    async def cancelled(i):
        raise asyncio.CancelledError

    async def call():
        await asyncio.wait_for(Line(2).through([ask("post", "a"), ask("post", "b")], cancelled), 5)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())


def test_a_post_is_its_words_and_its_pictures():
    one, two = ask("soup", "a"), ask("soup", "b")
    assert through_post(one.chat) == through_post(two.chat)
    assert through_post(one.chat) != through_post(ask("soup", "a", picture="a").chat)
    bare = Request(chat=Chat(turns=(Turn(role="user", parts=(Text(text="x"),)),)), max_new_tokens=1)
    assert instruction(bare.chat) == ()
    assert groups([bare, bare, one]) == [[0, 1], [2]]


class Cache:
    """A server's prefix cache at its worst: it has a prompt's blocks when that was answered.

    An answer takes so long that all that are asked together have been, however busy the machine.
    """

    def __init__(self, block=16):
        self.block, self.had, self.hits, self.prompts = block, set(), 0, []
        self.lock = threading.Lock()

    def answer(self, body):
        prompt = "".join(m["content"] for m in body["messages"])
        heads = [prompt[:n] for n in range(self.block, len(prompt), self.block)]
        with self.lock:
            self.prompts.append(prompt)
            self.hits += self.block * sum(h in self.had for h in heads)
        time.sleep(0.3)
        with self.lock:
            self.had.update(heads)
        return plain(body)

    def share(self):
        """Of the tokens (here: characters) that could have been had, those that were."""
        return self.hits / shareable([list(p) for p in self.prompts], self.block)


def test_of_shareable_tokens_nearly_all_are_had_and_without_the_order_fewer():
    requests = [
        ask(f"{i} the soup was cold and the waiter was slow to bring the bill " * 3, aspect)
        for i in range(12)
        for aspect in ("soup", "waiter", "bill", "evening")
    ]
    found = {}
    for share in (True, False):
        cache = Cache()
        with FakeOpenAI(answer=cache.answer) as server:
            done = client(server, batch_size=8, share_prefix=share).complete(requests)
        assert len(done) == len(cache.prompts) == 48
        found[share] = cache.share()
    assert found[True] >= 0.95
    assert found[False] < 0.8


def test_answers_come_in_the_order_of_the_requests_either_way():
    requests = [ask(f"post {i % 5}", f"aspect {i}") for i in range(20)]
    with FakeOpenAI() as server:
        shared, plain_ = (
            client(server, share_prefix=share).complete(requests) for share in (True, False)
        )
    assert [c.text for c in shared] == [c.text for c in plain_]
    assert [f"aspect {i}?" in c.text for i, c in enumerate(shared)] == [True] * 20
