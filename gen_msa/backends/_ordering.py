"""In which order requests are asked, so that a server's prefix cache has what they share.

A post's questions share instruction, pictures and words, and differ at their end. Asked all at once
of a server that has none of it yet, each is read whole. So the first question of a post leads, and
the others follow when it is answered, before any later post; and the very first request of an
instruction goes alone. Nothing is ever held back but for a leader that is on its way.

Knows no server. What is shared is told by the chat's parts: up to the post's own words.

    await in_order(requests, ask, at_once=16, known=set())
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

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


async def in_order(
    requests: Sequence[Request],
    ask: Callable[[int], Awaitable[None]],
    *,
    at_once: int,
    known: set[Prefix] | None,
) -> None:
    """`ask` each request by its number, at most `at_once` together, leaders first.

    `known` holds instructions that have been read before, and is added to; None asks in the order
    given and holds nothing back. What `ask` raises ends all.
    """
    place = {i: i for i in range(len(requests))}
    behind: dict[int, list[int]] = {}
    if known is not None:
        behind, place = _behind(requests, known)
    held = {i for free in behind.values() for i in free}
    queue: asyncio.PriorityQueue[tuple[int, int]] = asyncio.PriorityQueue()
    for i in range(len(requests)):
        if i not in held:
            queue.put_nowait((place[i], i))

    async def work() -> None:
        while True:
            _, i = await queue.get()
            await ask(i)
            for free in behind.get(i, ()):
                queue.put_nowait((place[free], free))
            queue.task_done()

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(min(at_once, len(requests)))]
        await queue.join()
        for worker in workers:
            worker.cancel()


def _behind(
    requests: Sequence[Request], known: set[Prefix]
) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Which requests wait for which, and each one's place in the line."""
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
    known.update(first)
    return behind, place


def _parts(chat: Chat) -> Prefix:
    return tuple((turn.role, part) for turn in chat.turns for part in turn.parts)
