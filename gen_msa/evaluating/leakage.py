"""Leakage: posts of one split that another has too, by their words or by their pictures.

A split is held against every split named before it, so name train first. What is counted are posts
of the later split; each has one row a kind, with the nearest post it was found in. Labels are never
looked at. Knows nothing of readers.

    found = leakage([open_source("twitter2015:train"), open_source("twitter2015:dev")])
    found.posts, found.counts          # 3, {"text": 1, "near text": 2, …}
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field

from gen_msa.data import Source
from gen_msa.errors import UserError
from gen_msa.evaluating.twins import pictures, texts
from gen_msa.settings import Settings
from gen_msa.types import Noun, Post, Rejected

Kind = Literal["text", "near text", "picture", "near picture", "picture name"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SHOWN = 80


class LeakageSettings(Settings):
    """What counts as the same."""

    near_text: float | None = Field(default=0.5, gt=0, le=1)
    """Least Jaccard index of word trigrams; None: equal texts only."""
    near_picture: int | None = Field(default=8, ge=0, le=32)
    """Most bits by which two 64-bit difference hashes differ; None: equal bytes only."""


class Side(Noun):
    """One split, and what could be compared of it."""

    name: str
    posts: int
    rejected: int
    wordless: int
    """Posts of nothing but mentions and URLs; their texts equal nothing."""
    short: int
    """Posts of fewer than six words of their own; only equal texts are looked for."""
    pictures: int
    nameless: int
    """Pictures without bytes, known by name alone."""
    flat: int
    """Pictures that could not be decoded or have no contrast; they have no near picture."""


class Twin(Noun):
    """A post of the later split that an earlier one has too."""

    kind: Kind
    first: str
    """The earlier split."""
    first_post: str
    second: str
    second_post: str
    score: float
    """1 for equal things; Jaccard index, or share of equal bits."""
    more: int = 0
    """Further posts of the earlier split that are the same by this kind (near pictures: 0)."""
    what: str
    """The later post's words, folded and cut, or its picture."""


class Leakage(Noun):
    """What splits have in common."""

    splits: tuple[Side, ...]
    settings: LeakageSettings
    folding: str
    """What texts were freed of before they were compared."""
    twins: tuple[Twin, ...]
    posts: int
    """Posts of a later split, each counted once, that an earlier one has in any way."""
    counts: dict[Kind, int]
    """Rows of each kind."""


@dataclass(frozen=True)
class _Split:
    side: Side
    ids: tuple[str, ...]
    folded: tuple[str, ...]
    """Empty where the text has no word of its own."""
    shingles: tuple[texts.Shingles, ...]
    prints: tuple[pictures.Print, ...]
    owner: tuple[int, ...]
    """Which post has each print."""


_Found = tuple[Kind, int, int, float, int, str]
"""kind, post of the later split, post of the earlier one, score, further posts, what"""


def leakage(
    sources: Sequence[Source],
    settings: LeakageSettings | None = None,
    *,
    on_post: Callable[[], object] = lambda: None,
) -> Leakage:
    """What each of `sources` has in common with those before it; `on_post` is called for each read.

    Raises `UserError` for fewer than two sources, or one that is named twice.
    """
    names = [s.name for s in sources]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError("leakage is between two or more different splits", mend="name train first")
    chosen = settings or LeakageSettings()
    splits = [_read(s, chosen, on_post) for s in sources]
    twins = [
        _twin(found, first, second)
        for at, second in enumerate(splits)
        for first in splits[:at]
        for found in _between(first, second, chosen)
    ]
    kinds = Counter(t.kind for _, t in twins)
    return Leakage(
        splits=tuple(s.side for s in splits),
        settings=chosen,
        folding=texts.FOLDING,
        twins=tuple(t for _, t in twins),
        posts=len({(t.second, at) for at, t in twins}),
        counts={k: kinds[k] for k in KINDS},
    )


def _read(source: Source, settings: LeakageSettings, on_post: Callable[[], object]) -> _Split:
    posts: list[Post] = []
    prints: list[tuple[int, pictures.Print]] = []
    rejected = 0
    look = settings.near_picture is not None
    for row in source.rows():
        on_post()
        if isinstance(row, Rejected):
            rejected += 1
            continue
        shown = [m for m in row.post.media if m.kind == "image"]
        prints += ((len(posts), pictures.print_of(m, source.media_root, look=look)) for m in shown)
        posts.append(row.post)
    folded = [texts.fold(p.text) for p in posts]
    said = tuple(f if texts.says_something(f) else "" for f in folded)
    sets = tuple(texts.shingles(f) for f in said)
    side = Side(
        name=source.name,
        posts=len(posts),
        rejected=rejected,
        wordless=said.count(""),
        short=sum(not s for s in sets),
        pictures=len(prints),
        nameless=sum(not p.sha256 for _, p in prints),
        flat=sum(bool(p.sha256) and p.look is None for _, p in prints) if look else 0,
    )
    ids = tuple(p.id for p in posts)
    owner, own = tuple(at for at, _ in prints), tuple(p for _, p in prints)
    return _Split(side, ids, said, sets, own, owner)


def _between(first: _Split, second: _Split, settings: LeakageSettings) -> Iterator[_Found]:
    yield from _same("text", first.folded, second.folded, second.folded)
    if settings.near_text is not None:
        yield from _near_texts(first, second, settings.near_text)
    yield from _same_prints("picture", first, second, lambda p: p.sha256)
    if settings.near_picture is not None:
        yield from _near_pictures(first, second, settings.near_picture)
    yield from _same_prints("picture name", first, second, lambda p: "" if p.sha256 else p.name)


def _same(
    kind: Kind, first: Sequence[Hashable], second: Sequence[Hashable], what: Sequence[str]
) -> Iterator[_Found]:
    """Equal keys; an empty one equals nothing."""
    held: dict[Hashable, list[int]] = defaultdict(list)
    for at, key in enumerate(first):
        held[key].append(at)
    for at, key in enumerate(second):
        if key and key in held:
            yield kind, at, held[key][0], 1.0, len(held[key]) - 1, what[at]


def _same_prints(
    kind: Kind, first: _Split, second: _Split, key: Callable[[pictures.Print], str]
) -> Iterator[_Found]:
    keys = [[key(p) for p in split.prints] for split in (first, second)]
    names = [p.name for p in second.prints]
    yield from _by_post(_same(kind, keys[0], keys[1], names), first, second)


def _near_texts(first: _Split, second: _Split, least: float) -> Iterator[_Found]:
    index = texts.Index(first.shingles, least)
    equal: dict[str, list[int]] = defaultdict(list)
    for at, folded in enumerate(first.folded):
        equal[folded].append(at)
    for at, asked in enumerate(second.shingles):
        found = index.nearest(asked, besides=equal.get(second.folded[at], ()))
        if found:
            what = second.folded[at]
            yield "near text", at, found.at, found.jaccard, found.among - 1, what


def _near_pictures(first: _Split, second: _Split, most_bits: int) -> Iterator[_Found]:
    near = pictures.nearest(first.prints, second.prints, most_bits)
    found: Iterator[_Found] = (
        ("near picture", j, i, 1 - bits / 64, 0, second.prints[j].name) for j, i, bits in near
    )
    yield from _by_post(found, first, second)


def _by_post(found: Iterator[_Found], first: _Split, second: _Split) -> Iterator[_Found]:
    """Prints turned into the posts that have them; of a post with several, the first."""
    seen: set[int] = set()
    for kind, at, other, score, more, what in found:
        post = second.owner[at]
        if post not in seen:
            seen.add(post)
            yield kind, post, first.owner[other], score, more, what


def _twin(found: _Found, first: _Split, second: _Split) -> tuple[int, Twin]:
    kind, at, other, score, more, what = found
    twin = Twin(
        kind=kind,
        first=first.side.name,
        first_post=first.ids[other],
        second=second.side.name,
        second_post=second.ids[at],
        score=round(score, 4),
        more=more,
        what=what if len(what) <= _SHOWN else f"{what[: _SHOWN - 1]}…",
    )
    return at, twin
