"""Runs probes: has a reader's own answers probed, each probe by its options.

Knows nothing of what a probe changes.

    probe(["erasure"], reader, settings, examples, reader.read(posts), media_root, limit=200)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gen_msa.evaluating.probing._bench import Bench, Row
from gen_msa.evaluating.probing.base import Probe, Probed, ProbeKind, probes
from gen_msa.metrics import Undefined
from gen_msa.readers import Reader, ReaderSettings, Reading
from gen_msa.results import Value
from gen_msa.settings import build
from gen_msa.types import WHOLE_POST, Example


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
