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

from gen_msa.chat import Chat, Picture, Request, Text

Prefix = tuple[tuple[str, Text | Picture], ...]


def instruction(chat: Chat) -> Prefix:
    """The turns before the one in which the post stands: pictures, or untrusted words."""
    found: list[tuple[str, Text | Picture]] = []
    for turn in chat.turns:
        if any(isinstance(p, Picture) or p.untrusted for p in turn.parts):
            return tuple(found)
        found += [(turn.role, part) for part in turn.parts]
    return ()


def through_post(chat: Chat) -> Prefix:
    """All up to the first untrusted words, with pictures: equal for all questions about one post.

    The whole chat where nothing is untrusted.
    """
    parts = _parts(chat)
    at = next((i for i, (_, p) in enumerate(parts) if isinstance(p, Text) and p.untrusted), None)
    return parts if at is None else parts[: at + 1]


def groups(requests: Sequence[Request]) -> list[list[int]]:
    """Numbers of the requests, those about one post together; by the first of each group."""
    found: dict[Prefix, list[int]] = {}
    for i, request in enumerate(requests):
        found.setdefault(through_post(request.chat), []).append(i)
    return list(found.values())


Ask = Callable[[int], Awaitable[None]]


class Line:
    """Where the requests of all callers stand: an earlier caller's before a later one's.

    So a caller's last requests, which leave a server ever less to do, are filled up with the next
    caller's first. All callers are in one event loop.
    """

    def __init__(self, at_once: int, *, share: bool = True) -> None:
        """At most `at_once` are asked together, of all callers; without `share` none leads."""
        self._free = at_once
        self._share = share
        self._waiting: list[tuple[int, int, int, _Call]] = []
        self._calls = itertools.count()
        self.known: set[Prefix] = set()
        """Instructions that have been read."""

    async def through(self, requests: Sequence[Request], ask: Ask) -> None:
        """`ask` each request by its number, leaders first; the first that raises ends the call."""
        if not requests:
            return
        order = _order(requests, self.known if self._share else None)
        async with asyncio.TaskGroup() as group:
            call = _Call(next(self._calls), ask, order, group, left=len(requests))
            try:
                for i in order.free:
                    self._put(call, i)
                self._fill()
                await call.done.wait()
            finally:
                call.ended = True
            if call.left:  # one was cancelled by itself, which a group does not count as a failure
                raise asyncio.CancelledError

    def _put(self, call: "_Call", i: int) -> None:
        heapq.heappush(self._waiting, (call.number, call.order.place[i], i, call))

    def _fill(self) -> None:
        while self._free and self._waiting:
            _, _, i, call = heapq.heappop(self._waiting)
            if not call.ended:
                self._free -= 1
                call.group.create_task(self._one(call, i)).add_done_callback(self._freed)

    def _freed(self, _: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before its first step runs none of it.
        self._free += 1
        self._fill()

    async def _one(self, call: "_Call", i: int) -> None:
        try:
            await call.ask(i)
        except BaseException:
            call.ended = True
            call.done.set()
            raise
        self.known.update(call.order.tells.get(i, ()))
        for follower in call.order.behind.get(i, ()):
            self._put(call, follower)
        call.left -= 1
        if not call.left:
            call.done.set()


@dataclass(frozen=True)
class _Order:
    """Which requests wait for which, each one's place in the line, and what is read with it."""

    behind: dict[int, list[int]]
    place: dict[int, int]
    tells: dict[int, list[Prefix]]

    @property
    def free(self) -> list[int]:
        held = {i for followers in self.behind.values() for i in followers}
        return [i for i in self.place if i not in held]


@dataclass(eq=False)
class _Call:
    """One caller's requests."""

    number: int
    ask: Ask
    order: _Order
    group: asyncio.TaskGroup
    left: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False


def _order(requests: Sequence[Request], known: set[Prefix] | None) -> _Order:
    """Leaders and who waits for them; None for `known`: the order given, and none waits."""
    if known is None:
        return _Order({}, {i: i for i in range(len(requests))}, {})
    posts = groups(requests)
    behind = {members[0]: members[1:] for members in posts}
    place = {i: n for n, i in enumerate(i for members in posts for i in members)}
    first: dict[Prefix, int] = {}
    for leader, *_ in posts:
        told = instruction(requests[leader].chat)
        if told in known or not told:
            continue
        if told in first:
            behind[first[told]].append(leader)
        first.setdefault(told, leader)
    return _Order(behind, place, {i: [told] for told, i in first.items()})


def _parts(chat: Chat) -> Prefix:
    return tuple((turn.role, part) for turn in chat.turns for part in turn.parts)
