"""Cue swap: does the answer change when a hint is another post's, or another aspect's?

`post`: the row gets the cues that a row of another post gets, of another gold where there is one.
`aspect`: those of another aspect of the same post. Only the cues change; text, picture and question
stay. A row whose cues come out the same is not read again and is in no figure. Needs a reader that
can be given other cues with the model it has (`recued`, as prompted readers can). Knows nothing of
what cues say.

    probe(["cue_swap"], reader, settings, examples, readings, media_root)
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

from gen_msa.cues import CueSource
from gen_msa.evaluating.probing._bench import Bench, Change, Row, Trial
from gen_msa.evaluating.probing._figures import Ratio, values
from gen_msa.evaluating.probing.base import Probed, probes
from gen_msa.metrics import Figure, Undefined
from gen_msa.readers import Reader, Shown
from gen_msa.results import Value
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Post

Donors = dict[tuple[str, Aspect], tuple[Post, Aspect]]
"""Post id and aspect -> the post and aspect whose cue is given instead."""


@runtime_checkable
class TakesCues(Protocol):
    """A reader whose cue sources can be exchanged."""

    def recued(self, change: Callable[[CueSource], CueSource]) -> Reader:
        """The same reader, model and all, with each cue source as `change` makes it."""
        ...


class Swapped:
    """A cue source that answers about one aspect with what another source says of another."""

    def __init__(self, source: CueSource, donors: Donors) -> None:
        self._source = source
        self._donors = donors
        self.slot = source.slot

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """The donor's cue for an aspect that has one, else its own."""
        own = self._source.cues(posts)
        places = [(p, a) for p in posts for a in p.aspects if (p.id, a) in self._donors]
        givers = [self._donors[p.id, a] for p, a in places]
        given = self._source.cues([p for p, _ in givers])
        swapped = {
            (p.id, a): cues[giver.aspects.index(of)]
            for (p, a), (giver, of), cues in zip(places, givers, given, strict=True)
        }
        return [
            tuple(
                Cue(text=swapped[p.id, a].text, source=f"swapped:{swapped[p.id, a].source}")
                if (p.id, a) in swapped
                else cue
                for a, cue in zip(p.aspects, cues, strict=True)
            )
            for p, cues in zip(posts, own, strict=True)
        ]

    def fingerprint(self) -> str:
        """Of the source and of who gives to whom."""
        names = sorted((*k, v[0].id, v[1].model_dump_json()) for k, v in self._keyed())
        return f"swapped:{names}:{self._source.fingerprint()}"

    def _keyed(self) -> list[tuple[tuple[str, str], tuple[Post, Aspect]]]:
        return [((i, a.model_dump_json()), giver) for (i, a), giver in self._donors.items()]


class CueSwapOptions(Settings):
    """There is nothing to choose."""


@probes.register
class CueSwap:
    """Reads posts with hints that were made for others."""

    Options: ClassVar[type[Settings]] = CueSwapOptions
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure("post_flip_rate", "another label with another post's cues", "share", ""),
        Figure("post_dp", "p(c|x) - p(c|x with another post's cues)", "score", ""),
        Figure("aspect_flip_rate", "another label with another aspect's cues", "share", ""),
        Figure("aspect_dp", "p(c|x) - p(c|x with another aspect's cues)", "score", ""),
    )

    def __init__(self, options: CueSwapOptions) -> None:
        self._options = options

    def __call__(self, bench: Bench) -> Probed:
        """Raises `Undefined` for a reader that takes no cues."""
        if not isinstance(bench.reader, TakesCues):
            raise Undefined("the reader takes no cues")
        rows = bench.some(bench.rows)
        before = _shown(bench.reader, rows)
        found, trials = dict[str, Value](), list[Trial]()
        for variant, choose in (("post", _other_post), ("aspect", _other_aspect)):
            given = {(r.post.id, r.aspect): choose(r, bench) for r in rows}
            donors = {k: (d.post, d.aspect) for k, d in given.items() if d}
            twin = bench.reader.recued(partial(Swapped, donors=donors))
            after = _shown(twin, rows)
            changes = [
                Change(r, variant, r.post, r.aspect, _told(after[k].cues))
                for r in rows
                for k in [(r.post.id, r.aspect)]
                if after[k].prompt != before[k].prompt
            ]
            said = bench.ask(changes, twin)
            trials += said
            found |= _values(variant, said, changes, len(rows), bench)
        if not trials:
            raise Undefined("the reader is shown no cue that another post or aspect would change")
        return Probed(found, tuple(trials))


def _shown(reader: Reader, rows: Sequence[Row]) -> dict[tuple[str, Aspect], Shown]:
    """Post id and aspect -> the question about it. Asks no model."""
    posts = list({r.post.id: r.post for r in rows}.values())
    places = [(p.id, a) for p in posts for a in p.aspects]
    shown = reader.preview(posts)
    if [(s.post.id, s.aspect) for s in shown] != [(i, a.term) for i, a in places]:
        raise Undefined("the reader asks about aspects of its own choice")
    return dict(zip(places, shown, strict=True))


def _other_post(row: Row, bench: Bench) -> Row | None:
    others = [r for r in bench.rows if r.post.id != row.post.id]
    unlike = [r for r in others if (r.truth or r.label) is not (row.truth or row.label)]
    dice = bench.dice("cue", row.post.id, row.aspect)
    return dice.choice(unlike or others) if others else None


def _other_aspect(row: Row, bench: Bench) -> Row | None:
    others = [r for r in bench.rows if r.post.id == row.post.id and r.aspect != row.aspect]
    unlike = [r for r in others if (r.truth or r.label) is not (row.truth or row.label)]
    dice = bench.dice("cue", row.post.id, row.aspect)
    return dice.choice(unlike or others) if others else None


def _told(cues: dict[str, str]) -> str:
    return "; ".join(f"{slot}: {text}" for slot, text in cues.items())


def _values(
    variant: str, said: list[Trial], changes: list[Change], rows: int, bench: Bench
) -> dict[str, Value]:
    lost = sum(bool(t.note) for t in said)
    notes = [f"{rows - len(said)} of {rows} rows: no other cue to be had"] * (len(said) < rows)
    notes += [f"{lost} could not be read"] * bool(lost)
    columns = {"flip_rate": [t.flipped for t in said], "dp": [t.dp for t in said]}
    ratios = {f"{variant}_{k}": Ratio(v, note="; ".join(notes)) for k, v in columns.items()}
    return values(ratios, [c.row.cluster for c in changes], bench)
