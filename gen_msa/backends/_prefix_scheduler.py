"""Order requests so that a server's prefix cache already has what they share.

A post's requests share instruction, images and text, and differ at their end. Sent all at once to a
server with an empty cache, each is encoded in full. So the first request of a post is sent alone
and
the others follow when it is answered, before any later post; and the very first request of an
instruction is sent alone, too. A request is held back only while the one it waits for is in flight.

    scheduler = PrefixScheduler(max_in_flight=16)
    await scheduler.run(requests, send)
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gen_msa.chat import Chat, ImageInput, Request, TextInput

Prefix = tuple[tuple[str, TextInput | ImageInput], ...]


def instruction_prefix(chat: Chat) -> Prefix:
    """Return the turns before the one that holds the post (images or untrusted text)."""
    prefix: list[tuple[str, TextInput | ImageInput]] = []
    for turn in chat.turns:
        if any(isinstance(p, ImageInput) or p.untrusted for p in turn.parts):
            return tuple(prefix)
        prefix += [(turn.role, part) for part in turn.parts]
    return ()


def post_prefix(chat: Chat) -> Prefix:
    """Return everything up to the first untrusted text: equal for all requests about one post.

    The complete chat where nothing is untrusted.
    """
    parts = _chat_parts(chat)
    at = next(
        (i for i, (_, p) in enumerate(parts) if isinstance(p, TextInput) and p.untrusted), None
    )
    return parts if at is None else parts[: at + 1]


def group_by_post(requests: Sequence[Request]) -> list[list[int]]:
    """Group the indices of requests about one post, in order of each group's first request."""
    grouped: dict[Prefix, list[int]] = {}
    for i, request in enumerate(requests):
        grouped.setdefault(post_prefix(request.chat), []).append(i)
    return list(grouped.values())


SendRequest = Callable[[int], Awaitable[None]]


class PrefixScheduler:
    """Queue of the requests of all callers: an earlier caller's before a later one's.

    The last requests of a caller, which no longer fill all slots, overlap with the next caller's
    first.
    All callers must run in one event loop.
    """

    def __init__(self, max_in_flight: int, *, share: bool = True) -> None:
        """Create an empty queue.

        Args:
            max_in_flight: Limit on the requests of all callers in flight.
            share: Send the first request of a post before its others; otherwise keep the given
                order.
        """
        self._free_slots = max_in_flight
        self._share = share
        self._queue: list[tuple[int, int, int, _CallState]] = []
        self._calls = itertools.count()
        self.read_instructions: set[Prefix] = set()
        """Instructions that the server has encoded."""

    async def run(self, requests: Sequence[Request], send: SendRequest) -> None:
        """Send requests, the first of each post before its others.

        Args:
            requests: Requests of this caller.
            send: Sends the request with this index; the first call that raises ends the run.
        """
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
            # A task that was cancelled by itself is no failure to the group.
            if call.remaining:
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
        # Not in the task itself: a task cancelled before its first step runs none of its code.
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
    """Which requests wait for which, their order, and the instruction that each makes cached."""

    followers: dict[int, list[int]]
    rank: dict[int, int]
    instructions: dict[int, list[Prefix]]

    @property
    def leaders(self) -> list[int]:
        waiting = {i for followers in self.followers.values() for i in followers}
        return [i for i in self.rank if i not in waiting]


@dataclass(eq=False)
class _CallState:
    """Requests of one caller."""

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
    """Build the schedule of a call.

    `read_instructions`: instructions that the server has cached; None to keep the order and wait
    never.
    """
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
