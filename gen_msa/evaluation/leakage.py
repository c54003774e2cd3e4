"""Leakage: posts of one split that also occur in another, by text or by image.

Each split is compared with every split named before it, so name the training split first. Counted
are posts of the later split; each has one row per kind, with the nearest post of the earlier split.
Labels are never read.

    report = find_leakage([open_examples("twitter2015:train"), open_examples("twitter2015:dev")])
    report.posts, report.counts        # 3, {"text": 1, "near text": 2, …}
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field

from gen_msa.data import ExampleSource
from gen_msa.errors import UserError
from gen_msa.evaluation import near_duplicates
from gen_msa.settings import Settings
from gen_msa.types import FrozenModel, Post, Rejected

DuplicateKind = Literal["text", "near text", "image", "near image", "image name"]
DUPLICATE_KINDS: tuple[DuplicateKind, ...] = get_args(DuplicateKind)

_MAX_EXCERPT_CHARS = 80


class LeakageSettings(Settings):
    """What counts as a duplicate."""

    near_text: float | None = Field(default=0.5, gt=0, le=1)
    """Minimum Jaccard index of word trigrams; None: identical texts only."""
    near_image: int | None = Field(default=8, ge=0, le=32)
    """Maximum number of differing bits of two difference hashes (64 bits); None: identical bytes
    only."""


class SplitSummary(FrozenModel):
    """One split, and what could be compared."""

    name: str
    posts: int
    rejected: int
    without_words: int
    """Posts that consist of mentions and URLs only; their texts match nothing."""
    short_texts: int
    """Posts with fewer than six words of their own; only identical texts are looked for."""
    images: int
    images_without_bytes: int
    """Images without bytes, known by name only."""
    images_without_hash: int
    """Images that cannot be decoded or have no contrast; their near duplicates are not found."""


class DuplicatePair(FrozenModel):
    """A post of the later split that also occurs in an earlier one."""

    kind: DuplicateKind
    earlier_split: str
    """Name of the earlier split."""
    earlier_post: str
    later_split: str
    later_post: str
    score: float
    """1 for identical content; otherwise the Jaccard index, or the share of equal bits."""
    n_more: int = 0
    """Further posts of the earlier split that match by this kind (near images: always 0)."""
    excerpt: str
    """The normalized, shortened text of the later post, or the name of its image."""


class LeakageReport(FrozenModel):
    """What splits have in common."""

    splits: tuple[SplitSummary, ...]
    settings: LeakageSettings
    normalization: str
    """How texts were normalized before the comparison."""
    duplicates: tuple[DuplicatePair, ...]
    posts: int
    """Posts of a later split that occur in an earlier one in any way, each counted once."""
    counts: dict[DuplicateKind, int]
    """Number of rows per kind."""


@dataclass(frozen=True)
class _SplitIndex:
    summary: SplitSummary
    ids: tuple[str, ...]
    normalized_texts: tuple[str, ...]
    """Empty where the text has no word of its own."""
    shingles: tuple[near_duplicates.Shingles, ...]
    fingerprints: tuple[near_duplicates.ImageFingerprint, ...]
    post_index: tuple[int, ...]
    """Index of the post of each fingerprint."""


_Duplicate = tuple[DuplicateKind, int, int, float, int, str]
"""Kind, post of the later split, post of the earlier split, score, further posts, excerpt."""


def find_leakage(
    sources: Sequence[ExampleSource],
    settings: LeakageSettings | None = None,
    *,
    on_post: Callable[[], object] = lambda: None,
) -> LeakageReport:
    """Find what each source has in common with the sources before it.

    Args:
        sources: Two or more splits, the training split first.
        settings: What counts as a duplicate.
        on_post: Called for each row that is read.

    Returns:
        The summary of each split and every duplicate.

    Raises:
        UserError: Fewer than two sources, or two of the same name.
    """
    names = [s.name for s in sources]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            "leakage is measured between two or more different splits",
            hint="name the training split first",
        )
    active_settings = settings or LeakageSettings()
    splits = [_index_split(s, active_settings, on_post) for s in sources]
    duplicates = [
        _duplicate_pair(duplicate, earlier, later)
        for index, later in enumerate(splits)
        for earlier in splits[:index]
        for duplicate in _duplicates_between(earlier, later, active_settings)
    ]
    kinds = Counter(t.kind for _, t in duplicates)
    return LeakageReport(
        splits=tuple(s.summary for s in splits),
        settings=active_settings,
        normalization=near_duplicates.NORMALIZATION,
        duplicates=tuple(t for _, t in duplicates),
        posts=len({(t.later_split, index) for index, t in duplicates}),
        counts={k: kinds[k] for k in DUPLICATE_KINDS},
    )


def _index_split(
    source: ExampleSource, settings: LeakageSettings, on_post: Callable[[], object]
) -> _SplitIndex:
    posts: list[Post] = []
    fingerprints: list[tuple[int, near_duplicates.ImageFingerprint]] = []
    rejected = 0
    with_hash = settings.near_image is not None
    for row in source.rows():
        on_post()
        if isinstance(row, Rejected):
            rejected += 1
            continue
        images = [m for m in row.post.media if m.kind == "image"]
        fingerprints += (
            (
                len(posts),
                near_duplicates.fingerprint_image(m, source.media_root, with_hash=with_hash),
            )
            for m in images
        )
        posts.append(row.post)
    normalized = [near_duplicates.normalize(p.text) for p in posts]
    comparable_texts = tuple(f if near_duplicates.has_words(f) else "" for f in normalized)
    shingle_sets = tuple(near_duplicates.shingles(f) for f in comparable_texts)
    summary = SplitSummary(
        name=source.name,
        posts=len(posts),
        rejected=rejected,
        without_words=comparable_texts.count(""),
        short_texts=sum(not s for s in shingle_sets),
        images=len(fingerprints),
        images_without_bytes=sum(not p.sha256 for _, p in fingerprints),
        images_without_hash=sum(bool(p.sha256) and p.dhash is None for _, p in fingerprints)
        if with_hash
        else 0,
    )
    ids = tuple(p.id for p in posts)
    post_index = tuple(index for index, _ in fingerprints)
    image_fingerprints = tuple(p for _, p in fingerprints)
    return _SplitIndex(summary, ids, comparable_texts, shingle_sets, image_fingerprints, post_index)


def _duplicates_between(
    earlier: _SplitIndex, later: _SplitIndex, settings: LeakageSettings
) -> Iterator[_Duplicate]:
    yield from _equal_keys(
        "text", earlier.normalized_texts, later.normalized_texts, later.normalized_texts
    )
    if settings.near_text is not None:
        yield from _near_texts(earlier, later, settings.near_text)
    yield from _equal_images("image", earlier, later, lambda p: p.sha256)
    if settings.near_image is not None:
        yield from _near_images(earlier, later, settings.near_image)
    yield from _equal_images("image name", earlier, later, lambda p: "" if p.sha256 else p.name)


def _equal_keys(
    kind: DuplicateKind,
    earlier_keys: Sequence[Hashable],
    later_keys: Sequence[Hashable],
    excerpts: Sequence[str],
) -> Iterator[_Duplicate]:
    """Yield matches of equal keys; an empty key matches nothing."""
    index_by_key: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(earlier_keys):
        index_by_key[key].append(index)
    for index, key in enumerate(later_keys):
        if key and key in index_by_key:
            yield (
                kind,
                index,
                index_by_key[key][0],
                1.0,
                len(index_by_key[key]) - 1,
                excerpts[index],
            )


def _equal_images(
    kind: DuplicateKind,
    earlier: _SplitIndex,
    later: _SplitIndex,
    key: Callable[[near_duplicates.ImageFingerprint], str],
) -> Iterator[_Duplicate]:
    keys = [[key(p) for p in split.fingerprints] for split in (earlier, later)]
    names = [p.name for p in later.fingerprints]
    yield from _first_per_post(_equal_keys(kind, keys[0], keys[1], names), earlier, later)


def _near_texts(earlier: _SplitIndex, later: _SplitIndex, threshold: float) -> Iterator[_Duplicate]:
    index = near_duplicates.ShingleIndex(earlier.shingles, threshold)
    index_by_text: dict[str, list[int]] = defaultdict(list)
    for position, text in enumerate(earlier.normalized_texts):
        index_by_text[text].append(position)
    for position, shingle_set in enumerate(later.shingles):
        nearest = index.nearest(
            shingle_set, excluded=index_by_text.get(later.normalized_texts[position], ())
        )
        if nearest:
            excerpt = later.normalized_texts[position]
            yield (
                "near text",
                position,
                nearest.position,
                nearest.jaccard,
                nearest.n_similar - 1,
                excerpt,
            )


def _near_images(earlier: _SplitIndex, later: _SplitIndex, max_bits: int) -> Iterator[_Duplicate]:
    neighbours = near_duplicates.nearest_images(earlier.fingerprints, later.fingerprints, max_bits)
    duplicates: Iterator[_Duplicate] = (
        ("near image", j, i, 1 - bits / 64, 0, later.fingerprints[j].name)
        for j, i, bits in neighbours
    )
    yield from _first_per_post(duplicates, earlier, later)


def _first_per_post(
    duplicates: Iterator[_Duplicate], earlier: _SplitIndex, later: _SplitIndex
) -> Iterator[_Duplicate]:
    """Map fingerprints to their posts; only the first match of a post counts."""
    seen_posts: set[int] = set()
    for kind, image, earlier_image, score, n_more, excerpt in duplicates:
        post = later.post_index[image]
        if post not in seen_posts:
            seen_posts.add(post)
            yield kind, post, earlier.post_index[earlier_image], score, n_more, excerpt


def _duplicate_pair(
    duplicate: _Duplicate, earlier: _SplitIndex, later: _SplitIndex
) -> tuple[int, DuplicatePair]:
    kind, post, earlier_post, score, n_more, excerpt = duplicate
    pair = DuplicatePair(
        kind=kind,
        earlier_split=earlier.summary.name,
        earlier_post=earlier.ids[earlier_post],
        later_split=later.summary.name,
        later_post=later.ids[post],
        score=round(score, 4),
        n_more=n_more,
        excerpt=excerpt
        if len(excerpt) <= _MAX_EXCERPT_CHARS
        else f"{excerpt[: _MAX_EXCERPT_CHARS - 1]}…",
    )
    return post, pair
