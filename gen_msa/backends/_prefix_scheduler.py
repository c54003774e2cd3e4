"""In which order requests are asked, so that a server's prefix cache has what they share.

A post's questions share instruction, pictures and words, and differ at their end. Asked all at once
of a server that has none of it yet, each is read whole. So the first question of a post leads, and
the others follow when it is answered, before any later post; and the very first request of an
instruction goes alone. Nothing is ever held back but for a leader that is on its way.

Knows no server. What is shared is told by the chat's parts: up to the post's own words.

    line = Line(at_once=16); await line.through(requests, ask)
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gen_msa.chat import Chat, ImageInput, Request, TextInput

Prefix = tuple[tuple[str, TextInput | ImageInput], ...]


def instruction_prefix(chat: Chat) -> Prefix:
    """The turns before the one in which the post stands: pictures, or untrusted words."""
    prefix: list[tuple[str, TextInput | ImageInput]] = []
    for turn in chat.turns:
        if any(isinstance(p, ImageInput) or p.untrusted for p in turn.parts):
            return tuple(prefix)
        prefix += [(turn.role, part) for part in turn.parts]
    return ()


def post_prefix(chat: Chat) -> Prefix:
    """All up to the first untrusted words, with pictures: equal for all questions about one post.

    The whole chat where nothing is untrusted.
    """
    parts = _chat_parts(chat)
    at = next(
        (i for i, (_, p) in enumerate(parts) if isinstance(p, TextInput) and p.untrusted), None
    )
    return parts if at is None else parts[: at + 1]


def group_by_post(requests: Sequence[Request]) -> list[list[int]]:
    """Numbers of the requests, those about one post together; by the first of each group."""
    grouped: dict[Prefix, list[int]] = {}
    for i, request in enumerate(requests):
        grouped.setdefault(post_prefix(request.chat), []).append(i)
    return list(grouped.values())


SendRequest = Callable[[int], Awaitable[None]]


class PrefixScheduler:
    """Where the requests of all callers stand: an earlier caller's before a later one's.

    So a caller's last requests, which leave a server ever less to do, are filled up with the next
    caller's first. All callers are in one event loop.
    """

    def __init__(self, max_in_flight: int, *, share: bool = True) -> None:
        """At most `at_once` are asked together, of all callers; without `share` none leads."""
        self._free_slots = max_in_flight
        self._share = share
        self._queue: list[tuple[int, int, int, _CallState]] = []
        self._calls = itertools.count()
        self.read_instructions: set[Prefix] = set()
        """Instructions that have been read."""

    async def run(self, requests: Sequence[Request], send: SendRequest) -> None:
        """`ask` each request by its number, leaders first; the first that raises ends the call."""
        if not requests:
            return
        schedule = _build_schedule(requests, self.read_instructions if self._share else None)
        async with asyncio.TaskGroup() as group:
            call = _CallState(next(self._calls), send, schedule, group, remaining=len(requests))
            try:
                for i in schedule.leaders:
                    self._enqueue(call, i)
                self._start_requests()
                await call.done.wait()
            finally:
                call.is_ended = True
            if (
                call.remaining
            ):  # one was cancelled by itself, which a group does not count as a failure
                raise asyncio.CancelledError

    def _enqueue(self, call: "_CallState", i: int) -> None:
        heapq.heappush(self._queue, (call.number, call.schedule.rank[i], i, call))

    def _start_requests(self) -> None:
        while self._free_slots and self._queue:
            _, _, i, call = heapq.heappop(self._queue)
            if not call.is_ended:
                self._free_slots -= 1
                call.group.create_task(self._run_request(call, i)).add_done_callback(
                    self._on_request_done
                )

    def _on_request_done(self, _: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before its first step runs none of it.
        self._free_slots += 1
        self._start_requests()

    async def _run_request(self, call: "_CallState", i: int) -> None:
        try:
            await call.send(i)
        except BaseException:
            call.is_ended = True
            call.done.set()
            raise
        self.read_instructions.update(call.schedule.instructions.get(i, ()))
        for follower in call.schedule.followers.get(i, ()):
            self._enqueue(call, follower)
        call.remaining -= 1
        if not call.remaining:
            call.done.set()


@dataclass(frozen=True)
class _Schedule:
    """Which requests wait for which, each one's place in the line, and what is read with it."""

    followers: dict[int, list[int]]
    rank: dict[int, int]
    instructions: dict[int, list[Prefix]]

    @property
    def leaders(self) -> list[int]:
        waiting = {i for followers in self.followers.values() for i in followers}
        return [i for i in self.rank if i not in waiting]


@dataclass(eq=False)
class _CallState:
    """One caller's requests."""

    number: int
    send: SendRequest
    schedule: _Schedule
    group: asyncio.TaskGroup
    remaining: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    is_ended: bool = False


def _build_schedule(
    requests: Sequence[Request], read_instructions: set[Prefix] | None
) -> _Schedule:
    """Leaders and who waits for them; None for `known`: the order given, and none waits."""
    if read_instructions is None:
        return _Schedule({}, {i: i for i in range(len(requests))}, {})
    post_groups = group_by_post(requests)
    followers = {members[0]: members[1:] for members in post_groups}
    rank = {i: n for n, i in enumerate(i for members in post_groups for i in members)}
    first_leader: dict[Prefix, int] = {}
    for leader, *_ in post_groups:
        prefix = instruction_prefix(requests[leader].chat)
        if prefix in read_instructions or not prefix:
            continue
        if prefix in first_leader:
            followers[first_leader[prefix]].append(leader)
        first_leader.setdefault(prefix, leader)
    return _Schedule(followers, rank, {i: [prefix] for prefix, i in first_leader.items()})


def _chat_parts(chat: Chat) -> Prefix:
    return tuple((turn.role, part) for turn in chat.turns for part in turn.parts)
