"""Picture ablation: what changes when the picture goes, turns grey, or is another post's?

Each post with a picture is read without it (`none`), with a grey one of its size (`grey`), and with
that of a post whose gold is another (`swapped`). What stands in `meta` about a picture (`facts`:
caption, objects, writing) goes and comes with it, or a reader would still see it in words; files
of captions are looked up by the picture's path, so they follow by themselves. Knows nothing of how
a reader looks.

`shortcut_index` = accuracy without pictures / accuracy with them: near 1, the text was enough.

    probe(["picture_ablation"], reader, settings, examples, readings, media_root)
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from gen_msa.evaluating.probing._bench import Bench, Change, Row, Trial
from gen_msa.evaluating.probing._figures import Ratio, values
from gen_msa.evaluating.probing._grey import Greys
from gen_msa.evaluating.probing.base import Probed, probes
from gen_msa.metrics import Figure, Undefined
from gen_msa.settings import Settings
from gen_msa.types import Media, Post

Variant = Literal["none", "grey", "swapped"]

_ABOUT: dict[Variant, str] = {
    "none": "without its picture",
    "grey": "with a grey picture",
    "swapped": "with another post's picture",
}


class PictureAblationOptions(Settings):
    """What is put in the picture's place."""

    variants: tuple[Variant, ...] = ("none", "grey", "swapped")
    facts: tuple[str, ...] = ("caption", "objects", "ocr")
    """Keys of `Post.meta` that are about the picture and go where it goes."""


def _figures() -> Iterator[Figure]:
    yield Figure("shortcut_index", "accuracy without pictures / accuracy with them", "score", "")
    for variant, about in _ABOUT.items():
        yield Figure(f"{variant}_accuracy_drop", f"accuracy minus accuracy {about}", "share", "")
        yield Figure(f"{variant}_flip_rate", f"another label {about}", "share", "")
        yield Figure(f"{variant}_dp", f"p(c|x) - p(c|x {about})", "score", "")


@probes.register
class PictureAblation:
    """Reads posts with something else in their picture's place."""

    Options: ClassVar[type[Settings]] = PictureAblationOptions
    figures: ClassVar[tuple[Figure, ...]] = tuple(_figures())

    def __init__(self, options: PictureAblationOptions) -> None:
        self._options = options

    def __call__(self, bench: Bench) -> Probed:
        """Raises `Undefined` when no post was read with a picture."""
        pictured = [r for r in bench.rows if _images(r.post)]
        if not pictured:
            raise Undefined("no post has a picture")
        fit = [r for r in pictured if _admitted(r)]
        if not fit:
            why = pictured[0].said.how["picture"]
            raise Undefined(f"no picture could be opened; the first: {why}")
        rows = bench.some(fit)
        unopened = len(pictured) - len(fit)
        unseen = sum("picture" in r.said.how for r in rows)
        notes = [f"{unopened} rows left out: their picture could not be opened"] * bool(unopened)
        notes += [f"{unseen} of {len(rows)} rows: the reader is shown no picture"] * bool(unseen)
        with Greys(bench.media_root, bench.settings.picture) as greys:
            found = {v: self._read(bench, v, rows, fit, greys) for v in self._options.variants}
        figures = values(_ratios(found, rows, notes), [r.cluster for r in rows], bench)
        return Probed(figures, tuple(t for said in found.values() for t in said if t))

    def _read(
        self, bench: Bench, variant: Variant, rows: list[Row], fit: list[Row], greys: Greys
    ) -> list[Trial | None]:
        """What is said of each row's post once changed; None where nothing fits its place."""
        donors = _donors(rows, fit, bench) if variant == "swapped" else {}
        changes: list[Change | None] = []
        for row in rows:
            post, told = self._without(row.post), "no picture"
            if variant == "grey":
                same = tuple(greys.like(m) for m in _images(row.post))
                post, told = post.model_copy(update={"media": (*post.media, *same)}), "grey"
            elif variant == "swapped":
                donor = donors[row.post.id]
                if donor is None:
                    changes.append(None)
                    continue
                post, told = self._with(post, donor), _images(donor)[0].path
            changes.append(Change(row, variant, post, row.aspect, told))
        said = iter(bench.ask([c for c in changes if c]))
        return [next(said) if c else None for c in changes]

    def _without(self, post: Post) -> Post:
        media = tuple(m for m in post.media if m.kind != "image")
        meta = {k: v for k, v in post.meta.items() if k not in self._options.facts}
        return post.model_copy(update={"media": media, "meta": meta})

    def _with(self, post: Post, donor: Post) -> Post:
        facts = {k: v for k, v in donor.meta.items() if k in self._options.facts}
        media = (*post.media, *_images(donor))
        return post.model_copy(update={"media": media, "meta": {**post.meta, **facts}})


def _images(post: Post) -> list[Media]:
    return [m for m in post.media if m.kind == "image"]


def _admitted(row: Row) -> bool:
    """Whether the picture was opened; one that is kept from a reader of text was."""
    return row.said.how.get("picture", "not shown").startswith("not shown")


def _donors(rows: list[Row], fit: list[Row], bench: Bench) -> dict[str, Post | None]:
    """For each post one with another picture and no gold in common; None where there is none."""
    labels: dict[str, set[str]] = {}
    posts: dict[str, Post] = {}
    for row in fit:
        labels.setdefault(row.post.id, set()).add(row.truth or row.label)
        posts[row.post.id] = row.post
    chosen: dict[str, Post | None] = {}
    for post in {r.post.id: r.post for r in rows}.values():
        own = {m.path for m in _images(post)}
        others = [
            p
            for i, p in posts.items()
            if not labels[i] & labels[post.id] and own.isdisjoint(m.path for m in _images(p))
        ]
        chosen[post.id] = bench.dice("picture", post.id).choice(others) if others else None
    return chosen


def _ratios(
    found: dict[Variant, list[Trial | None]], rows: list[Row], notes: Sequence[str]
) -> dict[str, Ratio]:
    ratios = {"shortcut_index": _shortcut(found.get("none"), rows, notes)}
    for variant in _ABOUT:
        said = found.get(variant, [None] * len(rows))
        lost = sum(t is None or bool(t.note) for t in said)
        why = "no other post fits, or it could not be read"
        told = [f"{lost} of {len(rows)} rows: {why}"] * bool(lost) if variant in found else []
        told += ["not among the variants"] * (variant not in found)
        columns = {
            "accuracy_drop": [t.lost if t else None for t in said],
            "flip_rate": [t.flipped if t else None for t in said],
            "dp": [t.dp if t else None for t in said],
        }
        note = "; ".join([*notes, *told])
        ratios |= {f"{variant}_{k}": Ratio(v, note=note) for k, v in columns.items()}
    return ratios


def _shortcut(said: list[Trial | None] | None, rows: list[Row], notes: Sequence[str]) -> Ratio:
    if said is None:
        return Ratio([None] * len(rows), note="the variant `none` was not asked for")
    alone = [float(t.after is t.gold) if t and t.lost is not None else None for t in said]
    full = [float(r.label is r.truth) for r in rows]
    return Ratio(alone, full, "; ".join(notes))
