"""Probes: change what a reader is given, and see whether its answer follows.

A probe is a file here. It starts from the reader's own answers, so that nothing is read twice, has
it read changed posts, and reports each figure with its n and a 95 % interval. A reader that cannot
be probed in some way is `not applicable`, with the reason. Works with any reader; figures called
`dp` or named after a probability need one that gives probabilities. Knows nothing of suites.

    probe(["erasure"], reader, settings, examples, reader.read(posts), media_root, limit=200)

Every changed post keeps its id and all its aspects (a rival's name shapes some cues), and is asked
as the reader's settings say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from gen_msa.evaluating.probing._bench import Bench, Row, Trial
from gen_msa.metrics import Figure, Undefined
from gen_msa.readers import Reader, ReaderSettings, Reading
from gen_msa.registry import Registry
from gen_msa.results import Value
from gen_msa.settings import Settings, build
from gen_msa.types import WHOLE_POST, Example


@dataclass(frozen=True)
class Probed:
    """What a probe found: its figures, and every changed row for the sample log."""

    figures: dict[str, Value]
    trials: tuple[Trial, ...] = ()


class Probe(Protocol):
    """Changes posts, has them read and says what became of the answers."""

    def __call__(self, bench: Bench) -> Probed:
        """Every figure of the probe. Raises `Undefined` when none can be had, with the reason."""
        ...


class ProbeKind(Protocol):
    """What a module of this room registers: a class with its options and figures."""

    Options: type[Settings]
    figures: tuple[Figure, ...]
    """In the order printed; the first is the probe's headline."""

    def __call__(self, options: Any) -> Probe:
        """Make the probe; reads nothing yet."""
        ...


probes: Registry[ProbeKind] = Registry("probe", __name__, "gen_msa.probes")


def probe(
    names: Sequence[str] | Mapping[str, Mapping[str, Any]],
    reader: Reader,
    settings: ReaderSettings,
    examples: Sequence[Example],
    readings: Sequence[Reading],
    media_root: Path,
    *,
    against: str = "gold",
    cluster: Literal["picture", "post"] = "picture",
    seed: int = 0,
    limit: int | None = None,
    replicates: int = 10_000,
) -> dict[str, Probed]:
    """Probe -> what it found. `names` are probes, or probes with their options.

    `readings` are what `reader`, made with `settings`, said of the examples' posts, in order.
    Rows that share a `cluster` are drawn together. `limit` is how many of the posts that fit a
    probe are read again, chosen by a hash of seed and id.
    Raises `UserError` for an unknown probe or option.
    """
    options = names if isinstance(names, Mapping) else {name: {} for name in names}
    made = {
        name: (kind, kind(build(kind.Options, given, f"probes.{name}")))
        for name, given in options.items()
        for kind in [probes[name]]
    }
    rows = _rows(examples, readings, against, cluster)
    bench = Bench(reader, settings, media_root, rows, seed, limit, replicates)
    return {name: _run(kind, one, bench) for name, (kind, one) in made.items()}


def _run(kind: ProbeKind, one: Probe, bench: Bench) -> Probed:
    try:
        return one(bench)
    except Undefined as e:
        note = f"not applicable: {e}"
        return Probed({f.name: Value(value=None, n=0, note=note) for f in kind.figures})


def _rows(
    examples: Sequence[Example], readings: Sequence[Reading], against: str, cluster: str
) -> tuple[Row, ...]:
    """One row for each opinion of the reader that has a label; the others cannot be moved."""
    rows = []
    for example, reading in zip(examples, readings, strict=True):
        post = example.post
        gold = {o.aspect: o for o in example.said_by(against)}
        pictures = [m.path for m in post.media if m.kind == "image"]
        if not post.aspects:
            # What the reader found by itself is from now on asked about by name.
            found = tuple(dict.fromkeys(o.aspect for o in reading.opinions))
            post = post.model_copy(update={"aspects": found or (WHOLE_POST,)})
        for said in reading.opinions:
            if said.polarity is not None:
                group = pictures[0] if pictures and cluster == "picture" else post.id
                rows.append(Row(post, said.aspect, gold.get(said.aspect), said, group))
    return tuple(rows)


__all__ = ["Bench", "Probe", "ProbeKind", "Probed", "Row", "Trial", "probe", "probes"]
