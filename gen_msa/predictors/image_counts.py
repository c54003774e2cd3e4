"""Count which images of posts a model saw, from the provenance of its opinions.

image_line(count_images(post, opinions))       # 'images: 1 of 4 seen, 3 missing'
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from gen_msa.media import ErrorKind
from gen_msa.types import Opinion, Post

_NOT_USED = "not used by this model"
_KINDS: tuple[str, ...] = get_args(ErrorKind)
_MAX_PATH_CHARS = 200


def count_images(post: Post, opinions: Sequence[Opinion]) -> Counter[str]:
    """Count the images of a post: `seen`, or why the model did not see them.

    Args:
        post: The post.
        opinions: What the model answered; none for no count.

    Returns:
        Images by `seen` or reason; empty without images.
    """
    return count_noted(post, opinions[0].provenance) if opinions else Counter()


def count_noted(post: Post, provenance: Mapping[str, str]) -> Counter[str]:
    """Count the images of a post by the note `image` of one opinion.

    Args:
        post: The post.
        provenance: The opinion's.

    Returns:
        Images by `seen` or reason; empty without images.
    """
    n_images = sum(m.kind == "image" for m in post.media)
    counts = Counter(reason for _, reason in unseen_images(post, provenance))
    counts["seen"] = n_images - counts.total()
    return +counts


def unseen_images(post: Post, provenance: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the images of a post that a model did not see, by the note `image` of one opinion.

    Args:
        post: The post.
        provenance: The opinion's.

    Returns:
        Path and reason (`missing`, `corrupt`, …) of each, in the order of the post.
    """
    paths = [m.path for m in post.media if m.kind == "image"]
    note = f"; {provenance.get('image', '')}"
    if note.startswith(("; not shown", "; not used")) or "majority_of" in provenance:
        return [(path, _NOT_USED) for path in paths]
    reasons = ((p, k) for p in paths for k in _KINDS if f"; {k}: {note_path(p)};" in note)
    return list(reasons)


def note_path(path: str) -> str:
    """Return the path of an image as a note names it: cut after 200 characters."""
    return path[:_MAX_PATH_CHARS]


def count_unseen(counts: Mapping[str, int]) -> int:
    """Return how many images a model did not see, for whatever reason."""
    return sum(n for kind, n in counts.items() if kind != "seen")


def unseen_rate(counts: Counter[str]) -> float:
    """Return the share of images that could not be read, 0 to 1."""
    n_unseen = sum(n for kind, n in counts.items() if kind not in ("seen", _NOT_USED))
    return n_unseen / counts.total() if n_unseen else 0.0


def image_line(counts: Counter[str]) -> str:
    """Return the counts as one line; "" without images."""
    if not counts:
        return ""
    others = sorted(kind for kind in counts if kind != "seen")
    reasons = "".join(f", {counts[kind]:,} {kind.replace('_', ' ')}" for kind in others)
    return f"images: {counts['seen']:,} of {counts.total():,} seen{reasons}"
