"""Posts that wait for the model: clients in turn by cost, the requests of a client in turn by post.

A client is served when it has had the least work of those that wait (start-time fair queuing,
Goyal et al. 1996), so one with many connections or long posts delays another by one post at a time.

    queue.add(request)
    queue.take()            # the next post
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from gen_msa.predictors import Prediction
from gen_msa.serving.cost import Cost
from gen_msa.types import Post

_MAX_REMEMBERED_CLIENTS = 4_096


@dataclass(eq=False)
class QueuedPost:
    """A post and the future of its prediction."""

    post: Post
    cost: Cost
    future: "asyncio.Future[Prediction]"
    queued_at: float
    request: "QueuedRequest" = field(repr=False)


@dataclass(eq=False)
class QueuedRequest:
    """The posts of one request that wait."""

    client: str
    lane: int
    posts: deque[QueuedPost] = field(default_factory=deque)


@dataclass(eq=False)
class _ClientQueue:
    work: float
    """Virtual time at which this client's next post starts."""
    requests: deque[QueuedRequest] = field(default_factory=deque)


class FairQueue:
    """The posts of one lane. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._clients: dict[str, _ClientQueue] = {}
        self._past_work: OrderedDict[str, float] = OrderedDict()
        self._virtual_time = 0.0
        self.rows = 0
        """Rows that wait."""
        self.tokens = 0
        """Tokens that wait."""

    def __bool__(self) -> bool:
        return bool(self._clients)

    def __iter__(self) -> Iterator[QueuedPost]:
        for client in self._clients.values():
            for request in client.requests:
                yield from request.posts

    def n_requests(self) -> int:
        """Return the number of requests that wait."""
        return sum(len(client.requests) for client in self._clients.values())

    def tokens_of(self, name: str) -> int:
        """Return the tokens of a client that wait."""
        client = self._clients.get(name)
        return sum(p.cost.tokens for r in client.requests for p in r.posts) if client else 0

    def oldest(self) -> float:
        """Return when the post was queued that waits longest; the queue must not be empty."""
        return min(r.posts[0].queued_at for c in self._clients.values() for r in c.requests)

    def add(self, request: QueuedRequest) -> None:
        """Add the posts of a request; one without posts is not added."""
        if not request.posts:
            return
        name = request.client
        if name not in self._clients:
            work = max(self._past_work.pop(name, 0.0), self._virtual_time)
            self._clients[name] = _ClientQueue(work)
        self._clients[name].requests.append(request)
        self._count(request.posts, 1)

    def peek(self) -> QueuedPost:
        """Return the next post; the queue must not be empty."""
        return self._next_client()[1].requests[0].posts[0]

    def take(self) -> QueuedPost:
        """Remove the next post and return it; the queue must not be empty."""
        name, client = self._next_client()
        request = client.requests.popleft()
        queued_post = request.posts.popleft()
        if request.posts:
            client.requests.append(request)
        self._virtual_time = client.work
        client.work += queued_post.cost.work
        self._count([queued_post], -1)
        self._forget_if_idle(name)
        return queued_post

    def discard(self, queued_post: QueuedPost) -> bool:
        """Remove a post that nobody waits for.

        Returns:
            Whether it was still in the queue.
        """
        request = queued_post.request
        if queued_post not in request.posts:
            return False
        request.posts.remove(queued_post)
        self._count([queued_post], -1)
        if not request.posts:
            self._clients[request.client].requests.remove(request)
            self._forget_if_idle(request.client)
        return True

    def clear(self) -> list[QueuedPost]:
        """Remove all posts and return them."""
        queued_posts = list(self)
        self._clients.clear()
        self.rows = self.tokens = 0
        return queued_posts

    def _next_client(self) -> tuple[str, _ClientQueue]:
        return min(self._clients.items(), key=lambda item: item[1].work)

    def _count(self, queued_posts: "deque[QueuedPost] | list[QueuedPost]", sign: int) -> None:
        self.rows += sign * sum(p.cost.rows for p in queued_posts)
        self.tokens += sign * sum(p.cost.tokens for p in queued_posts)

    def _forget_if_idle(self, name: str) -> None:
        """Drop a client without posts; what it had counts when it comes back soon."""
        if self._clients[name].requests:
            return
        self._past_work[name] = self._clients.pop(name).work
        if len(self._past_work) > _MAX_REMEMBERED_CLIENTS:
            self._past_work.popitem(last=False)
