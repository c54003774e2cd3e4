"""What a post costs a model, as far as it can be known before it is predicted.

A cost orders work: the shortest is done first, and no client takes more than its share. It is no
number of seconds, but grows as seconds do: with the aspects, with the length of the text (a longer
one has more words to search, and each search takes longer), and with the pixels to decode.

    lane_of(sum(post_cost(p).work for p in posts))    # 0 for a short request
"""

from bisect import bisect_left
from dataclasses import dataclass

from gen_msa.types import Post

LANE_LIMITS = (256, 4_096, 65_536)
"""Most work of a request in each lane but the last: some ten short posts; a long post, or many
short ones; a few posts of some pages. Work of a lane pauses for that of a shorter one."""
N_LANES = len(LANE_LIMITS) + 1
MAX_FOUND_ASPECTS = 8
"""Aspects that a model finds in a post at most (`cues.parsing.MAX_CANDIDATES`)."""

_BYTES_A_TOKEN = 3
_CHARACTERS_AN_ASPECT = 16
_FIXED_TOKENS = 8
_PIXELS_A_UNIT = 2_000


@dataclass(frozen=True)
class Cost:
    """Cost of one post."""

    rows: int
    """Aspects to predict; 1 where the model finds them."""
    tokens: int
    """Tokens that the model reads, about: those of the text for each row."""
    work: int
    """Units of work, at least 1."""


def post_cost(post: Post, pixels: int = 0) -> Cost:
    """Estimate the cost of a post.

    Args:
        post: The post as it will be predicted.
        pixels: Pixels of its images, by their headers.

    Returns:
        Its cost.
    """
    characters = len(post.text)
    found = max(1, min(MAX_FOUND_ASPECTS, characters // _CHARACTERS_AN_ASPECT))
    rows = len(post.aspects) or found
    text_tokens = len(post.text.encode()) // _BYTES_A_TOKEN
    term_tokens = sum(len(a.term) for a in post.aspects) // _BYTES_A_TOKEN
    tokens = rows * (_FIXED_TOKENS + text_tokens) + term_tokens
    work = tokens * (_FIXED_TOKENS + text_tokens) // _FIXED_TOKENS + pixels // _PIXELS_A_UNIT
    return Cost(max(1, len(post.aspects)), tokens, max(1, work))


def lane_of(work: int) -> int:
    """Return the lane of a request: 0 for the shortest, `N_LANES` - 1 for the longest.

    Args:
        work: Work of all posts of the request.
    """
    return bisect_left(LANE_LIMITS, work)
