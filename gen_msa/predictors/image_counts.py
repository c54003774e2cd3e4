"""Count which images of posts a model saw, from the provenance of its opinions.

image_line(count_images(post, opinions))       # 'images: 1 of 4 seen, 3 missing'
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from gen_msa.media import ErrorKind
from gen_msa.types import Opinion, Post

_NOT_USED = "not used by this model"
_PROBLEM = re.compile(rf"(?:^|; )({'|'.join(get_args(ErrorKind))}): ")


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
    note = provenance.get("image", "")
    if note.startswith(("not shown", "not used")) or "majority_of" in provenance:
        return +Counter({_NOT_USED: n_images})
    counts = Counter(_PROBLEM.findall(note)) if n_images else Counter()
    counts["seen"] = n_images - counts.total()
    return +counts


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
