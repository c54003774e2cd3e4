"""One request to explain, from its body to its answer; and the service all requests share.

Knows nothing of routes or tokens.

    service = Service(settings, load, log)
    service.open(on_end=stop); body = await service.explain(request, told)
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from gen_msa import readers
from gen_msa.readers import Reader, Reading
from gen_msa.serving import bodies
from gen_msa.serving.answers import answers
from gen_msa.serving.batching import Desk, rows_of
from gen_msa.serving.figures import Figures
from gen_msa.serving.logs import Log
from gen_msa.serving.pictures import Folder
from gen_msa.serving.posts import Taken, take
from gen_msa.serving.problems import BadPost, Problem, Refusal
from gen_msa.serving.settings import ServeSettings
from gen_msa.types import Post

_SMALL = 1 << 15
"""Bytes of a body that is taken apart at once; a larger one in a thread, so that others go on."""

Load = Callable[[Path], Reader]
"""Makes the reader, given the folder below which it finds pictures."""


@dataclass
class Facts:
    """What the log tells of one request."""

    id: str
    facts: dict[str, int | list[str]] = field(default_factory=dict)


class Service:
    """A reader and what lies around it. `open` and `close` belong to one event loop."""

    def __init__(self, settings: ServeSettings, log: Log, load: Load | None = None) -> None:
        """`load`: another reader than the settings name."""
        self.settings, self.log = settings, log
        self.figures = Figures()
        self._scratch = tempfile.TemporaryDirectory(prefix="gen-msa-serve-")
        self._root = Path(self._scratch.name)
        make = load or (lambda root: readers.make(settings.of_reader(), root))
        self.desk = Desk(lambda: make(self._root), settings, self.figures, log)
        self._room = bodies.Room(settings.limits, self.figures)
        self._flying = 0

    def open(self, on_end: Callable[[], None]) -> None:
        """Start loading the reader; `on_end` is called should it fail, now or later."""
        self.desk.open(on_end)

    def close(self) -> None:
        """Read no more and remove what pictures there are."""
        self.desk.close()
        self._scratch.cleanup()

    async def explain(self, request: Request, facts: Facts) -> bytes:
        """The answer's JSON. Raises `Refusal`, or `ClientDisconnect` when nobody waits for it."""
        with ExitStack() as stack:
            stack.enter_context(self._slot())
            with self.desk.coming():
                account = stack.enter_context(self._room.account())
                body = await bodies.whole(request, self.settings.limits, account)
                kind = request.headers.get("content-type", "")
                rows = await self._taken(stack, body, kind, facts)
                taken = [r for r in rows if isinstance(r, Taken)]
                self._note(facts, rows, taken)
                pending = self.desk.ask([t.post for t in taken])
            readings = await self._read(pending, request)
            said, bad = answers(rows, readings, self.figures)
            facts.facts["bad"] = bad
            return said

    async def _taken(
        self, stack: ExitStack, body: bytes, kind: str, facts: Facts
    ) -> list[Taken | Problem]:
        """The rows of a body; their pictures lie in a folder until `stack` is left."""

        def work() -> list[Taken | Problem]:
            parcel = bodies.opened(body, kind, self.settings.limits)
            judged = self.settings.bad_picture != "text-only"
            limits, pixels = self.settings.picture, self.settings.limits.pixels
            pictures = Folder(self._root, parcel.uploads, limits, pixels=pixels, judged=judged)
            folder = stack.enter_context(pictures)
            rows = _rows(parcel.posts, self.settings, folder, facts.id)
            unused = sorted(parcel.uploads.keys() - folder.used)
            if unused and all(isinstance(r, Taken) for r in rows):
                why = f"no post names the uploaded file {unused[0][:60]!a}"
                raise Refusal(400, why, "name it in the `pictures` of its post")
            return rows

        if len(body) <= _SMALL and kind.startswith("application/json"):
            return work()
        return await asyncio.to_thread(work)

    async def _read(
        self, pending: "list[asyncio.Future[Reading]]", request: Request
    ) -> list[Reading]:
        """The readings, unless time runs out or the client leaves: then they are not made."""
        if not pending:
            return []
        limits = self.settings.limits
        whole = asyncio.ensure_future(asyncio.wait(pending))
        left = asyncio.ensure_future(_left(request))
        try:
            both: set[asyncio.Future[Any]] = {whole, left}
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait(both, timeout=limits.seconds, return_when=first)
            if whole in done:
                return [one.result() for one in pending]
            if left in done:
                raise ClientDisconnect
            why = f"there was no answer within {limits.seconds:g} seconds"
            raise Refusal(503, why, "send fewer posts, or later", retry=limits.retry_seconds)
        finally:
            for one in pending:
                one.cancel()
            whole.cancel()
            left.cancel()

    def _note(self, facts: Facts, rows: list[Taken | Problem], taken: list[Taken]) -> None:
        facts.facts["posts"] = len(rows)
        facts.facts["rows"] = sum(rows_of(t.post) for t in taken)
        if self.settings.log_text:
            facts.facts["texts"] = [t.post.text for t in taken]

    @contextmanager
    def _slot(self) -> Iterator[None]:
        limits = self.settings.limits
        if self._flying >= limits.requests:
            why = f"{self._flying} requests are being answered already"
            raise Refusal(429, why, "send it again later", retry=limits.retry_seconds)
        self._flying += 1
        self.figures.flying.set(self._flying)
        try:
            yield
        finally:
            self._flying -= 1
            self.figures.flying.set(self._flying)


def _rows(
    posts: list[object], settings: ServeSettings, folder: Folder, request: str
) -> list[Taken | Problem]:
    rows: list[Taken | Problem] = []
    met: dict[str, int] = {}
    for number, raw in enumerate(posts, 1):
        try:
            taken = take(raw, f"{request}-{number}", settings.limits, folder)
            _only_one(taken.post, number, met)
            rows.append(taken)
        except BadPost as e:
            rows.append(e.problem)
    return rows


def _only_one(post: Post, number: int, met: dict[str, int]) -> None:
    if (first := met.setdefault(post.id, number)) != number:
        why = f"its id already stands in row {first}"
        raise BadPost(why, "give every post an id of its own, or none")


async def _left(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
