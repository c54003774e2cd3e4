"""The cost of each reader as figures: medians over laps, with the least and the most of them.

A reader that repeats what is on record has no cost of its own. One that is no longer the reader
whose answers were measured gets none either. Knows nothing of accuracy.

    costs(CostSettings(posts=64), [Asked("echo", ReaderSettings(reader="echo"))], posts, root)
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import Field, JsonValue

from gen_msa import readers
from gen_msa.errors import UserError
from gen_msa.evaluating.costing.racing import Contender, Lap, Ran, race
from gen_msa.evaluating.costing.shipping import megabytes
from gen_msa.ledger import key
from gen_msa.readers import ReaderSettings
from gen_msa.results import Costing, Value
from gen_msa.settings import Settings
from gen_msa.types import Post

T = TypeVar("T")

RECORDED = frozenset({"file", "majority", "minigpt4"})
"""Readers that repeat what is on record."""
ELSEWHERE = {"http": "it works on its server", "vllm": "its engine is another process"}
"""Readers whose own process does not do the work, so that its CPU time and memory say nothing."""
NO_ENERGY = "not measurable here"


class CostSettings(Settings):
    """How cost is measured."""

    posts: int = Field(default=0, ge=0)
    """Posts of a lap, spread evenly over the data; 0: nothing is measured."""
    laps: int = Field(default=5, ge=5)
    """Of each reader, after one that warms up."""
    together: bool = True
    """All readers are in memory at once and take turns; without, one after the other."""


@dataclass(frozen=True)
class Asked:
    """A reader whose cost is asked for."""

    name: str
    settings: ReaderSettings
    facts: Mapping[str, JsonValue] | None = None
    """Fingerprint of the reader that was measured; None: any will do."""
    chunk: int = 64


def costs(
    how: CostSettings, asked: Sequence[Asked], posts: Sequence[Post], media_root: Path
) -> dict[str, Costing]:
    """Name -> what reading costs, for every reader: figures, or a note why there are none."""
    some = spread(posts, how.posts)
    timed = [one for one in asked if not _recorded(one)]
    contenders = [
        Contender(one.name, partial(readers.make, one.settings, media_root), some, one.chunk)
        for one in timed
    ]
    ran = race(contenders, how.laps, together=how.together)
    return {
        one.name: costing(ran[one.name], one)
        if one.name in ran
        else Costing(note="recorded: no cost of its own")
        for one in asked
    }


def spread(things: Sequence[T], most: int) -> list[T]:
    """At most so many of `things`, evenly spread over them."""
    n = min(most, len(things))
    return [things[i * len(things) // n] for i in range(n)]


def costing(ran: Ran, asked: Asked) -> Costing:
    """What a reader's laps say of its cost."""
    if ran.error or not ran.laps:
        return Costing(note=f"failed: {ran.error or 'no lap was run'}")
    if asked.facts is not None and key(asked.facts) != ran.reader:
        why = "the reader made anew is not the one whose answers were measured"
        return Costing(note=f"failed: {why}", machine=ran.machine)
    name = asked.settings.reader.partition(":")[0]
    return Costing(
        figures=_figures(ran.laps, asked.settings.reader, ELSEWHERE.get(name, "")),
        reader_sha256=ran.reader,
        posts=ran.laps[0].posts,
        laps=len(ran.laps),
        machine=ran.machine,
    )


def _recorded(one: Asked) -> bool:
    return one.settings.reader.partition(":")[0] in RECORDED


def _figures(laps: Sequence[Lap], reader: str, elsewhere: str) -> dict[str, Value]:
    n = laps[0].posts
    if elsewhere:
        cpu = memory = Value(value=None, n=n, note=f"not measured: {elsewhere}")
    else:
        cpu = _of(laps, lambda x: 1e3 * x.cpu / x.posts)
        memory = Value(value=max(x.peak_mb for x in laps), n=n)
    energy = Value(value=None, n=n, note=NO_ENERGY)
    if all(x.joules is not None for x in laps):
        energy = _of(laps, lambda x: 1e3 * (x.joules or 0.0) / x.posts)
    return {
        "posts_per_second": _of(laps, lambda x: x.posts / x.wall),
        "cpu_seconds": cpu,
        "megabytes": _shipped(reader, n),
        "peak_megabytes": memory,
        "joules": energy,
    }


def _of(laps: Sequence[Lap], figure: Callable[[Lap], float]) -> Value:
    found = [figure(x) for x in laps]
    how = f"median, least and most of {len(laps)} laps"
    middle = statistics.median(found)
    return Value(value=middle, n=laps[0].posts, low=min(found), high=max(found), how=how)


def _shipped(reader: str, n: int) -> Value:
    try:
        size = megabytes(reader)
    except (UserError, OSError) as e:
        return Value(value=None, n=n, note=f"not known: {e}")
    return Value(value=size, n=n, note="" if size is not None else "not known")
