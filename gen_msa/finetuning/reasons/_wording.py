"""The sentences that reasons are made of, all of them. Knows nothing of trees.

fill(BARE, "the battery", (), 0.4)      # 'Nothing is said for or against the battery.'
"""

import re
from collections.abc import Sequence

from gen_msa.types import Polarity

QUOTE_TEMPLATES = {
    Polarity.NEGATIVE: (
        "{q} speaks against {a}.",
        "{q} is a complaint about {a}.",
        "The writer is unhappy with {a}: {q}.",
        "Blame for {a}: {q}.",
    ),
    Polarity.NEUTRAL: (
        "{q} is a fact about {a}, not an opinion.",
        "{q} neither praises nor blames {a}.",
        "{q} tells of {a} without an opinion.",
    ),
    Polarity.POSITIVE: (
        "{q} speaks for {a}.",
        "{q} is praise for {a}.",
        "The writer is happy with {a}: {q}.",
        "Praise for {a}: {q}.",
    ),
}
"""`{q}` is what is quoted, `{a}` the aspect; none needs to know whether the aspect is plural."""

TONE_TEMPLATES = {
    Polarity.NEGATIVE: (
        "{q} casts a bad light on {a}.",
        "The tone about {a} is bad: {q}.",
        "Bad news for {a}: {q}.",
    ),
    Polarity.POSITIVE: (
        "{q} casts a good light on {a}.",
        "The tone about {a} is good: {q}.",
        "Good words for {a}: {q}.",
    ),
}
"""Where the words quoted set the tone, but are not said of the aspect itself."""

NO_OPINION_TEMPLATES = (
    "The post names {a} without an opinion.",
    "Nothing is said for or against {a}.",
    "No praise and no blame for {a}.",
)
"""Neutral, with nothing to quote."""

WHOLE_POST_TEMPLATES = {
    Polarity.NEGATIVE: (
        "The mood of the post is bad: {q}.",
        "The post complains: {q}.",
    ),
    Polarity.NEUTRAL: (
        "The post tells facts and takes no side.",
        "The post neither praises nor complains.",
    ),
    Polarity.POSITIVE: (
        "The mood of the post is good: {q}.",
        "The post is glad: {q}.",
    ),
}


def fill_template(templates: Sequence[str], aspect: str, quotes: Sequence[str], chance: float) -> str:
    """One of the wordings, chosen by `chance` in [0, 1), with its blanks filled in.

    Quotes stand in double quotes and are joined by `and`.
    """
    joined_quotes = " and ".join(f'"{q}"' for q in quotes)
    # Not `format`, and both at once: an aspect or a quote may hold braces of its own.
    pieces = re.split(r"(\{[qa]\})", templates[int(chance * len(templates))])
    return "".join({"{q}": joined_quotes, "{a}": aspect}.get(p, p) for p in pieces)
