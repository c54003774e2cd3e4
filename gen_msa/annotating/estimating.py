"""What a job would cost, before it is begun: questions counted, and a few of them asked.

The answers of the few go into the ledger, so that nothing is asked twice. Tokens and seconds are
theirs, times the number of questions: further tries and votes of gates are in it as far as the few
needed them, and a longer batch is faster than a short one. Knows nothing of terminals.

    estimate(source, settings, teacher, Path("opinions.ledger")).money
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gen_msa.annotating import _marks as marks
from gen_msa.annotating._output import remember
from gen_msa.annotating._settings import AnnotateSettings
from gen_msa.annotating._teaching import Teacher, shown_to
from gen_msa.annotating._working import work
from gen_msa.data import Source
from gen_msa.ledger import Ledger, key
from gen_msa.readers import Shown
from gen_msa.types import Example

PROBE = 3
"""Posts that are asked about."""


@dataclass(frozen=True)
class Estimate:
    """A job that lies ahead. None: not to be known beforehand."""

    posts: int
    questions: int
    """An aspect each; a post whose aspects are not given counts as one."""
    first: Shown | None
    """The first question."""
    tokens: tuple[float, float] | None
    """Of all prompts, and of all answers."""
    seconds: float | None
    money: float | None
    probed: int
    """Posts asked about for this; 0: all of the first had been answered."""


def estimate(
    source: Source,
    settings: AnnotateSettings,
    teacher: Teacher,
    ledger_path: Path | None,
    known: Sequence[Path] = (),
) -> Estimate:
    """Count the source's questions, ask about its first `PROBE` posts, and multiply.

    With `ledger_path` None nobody is asked; what the `known` ledgers have is not asked again.
    """
    posts, questions, few = _counted(source, settings)
    shown = teacher.preview([shown_to(settings, e) for e in few])
    probed = _Probed()
    if ledger_path is not None:
        with Ledger(ledger_path, known) as book:
            probed = _probe(source, settings, teacher, book)
    times = questions / probed.questions if probed.questions else 0.0
    tokens = None
    if probed.read:
        tokens = probed.read * times, probed.written * times
    elif shown and shown[0].tokens is not None:
        counts = [s.tokens for s in shown if s.tokens is not None]
        tokens = sum(counts) / len(counts) * questions, 0.0
    prices = settings.prices
    return Estimate(
        posts=posts,
        questions=questions,
        first=shown[0] if shown else None,
        tokens=tokens,
        seconds=probed.seconds * times / settings.workers if times else None,
        money=prices.of(*tokens) if prices and tokens and probed.read else None,
        probed=probed.posts,
    )


@dataclass
class _Probed:
    posts: int = 0
    questions: int = 0
    read: int = 0
    written: int = 0
    seconds: float = 0.0


def _counted(source: Source, settings: AnnotateSettings) -> tuple[int, int, list[Example]]:
    """Posts, questions, and the first posts of the source."""
    posts = questions = 0
    few: list[Example] = []
    for row in islice(source.rows(), settings.limit):
        if isinstance(row, Example):
            given = settings.aspects in ("auto", "given")
            posts, questions = posts + 1, questions + max(len(row.post.aspects) * given, 1)
            few += [row] if len(few) < PROBE else []
    return posts, questions, few


def _probe(source: Source, settings: AnnotateSettings, teacher: Teacher, book: Ledger) -> _Probed:
    """Have the first posts read that no earlier run has had read."""
    found = _Probed()
    first = settings.model_copy(update={"limit": min(PROBE, settings.limit or PROBE)})
    for pending, unread in work(source, first, key(teacher.fingerprint()), book):
        if not unread:
            continue
        began = time.perf_counter()
        readings = teacher.read(unread)
        found.seconds += time.perf_counter() - began
        fresh = [k for k in pending.keys if k not in pending.known]
        remember(book, dict(zip(fresh, readings, strict=True)))
        found.posts += len(unread)
        for reading in readings:
            found.questions += len({o.aspect for o in reading.opinions})
            for read, written in filter(None, map(marks.tokens, reading.opinions)):
                found.read, found.written = found.read + read, found.written + written
    return found
