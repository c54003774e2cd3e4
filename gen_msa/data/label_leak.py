"""Detect label leaks: no context or explanation of a dev or test row may contain a label field.

A student whose input says `Sentiment: positive` learns to copy it, and gets a metric that no new
post can reach (a defect of published training data). The check covers explanations, except gold's,
and texts in `Post.meta`. `raw` is the complete answer of a model, with its label line, and is no
student input. The split follows from the name of the source.

    check_no_label_leak("twitter2015:dev", examples)      # raises UserError
"""

import re
from collections.abc import Iterable, Iterator

from gen_msa.data.base import is_train_split
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, FrozenModel, Polarity

LABEL_FIELD_PATTERN = re.compile(
    r"(?<!\w)(?:(?:gold|true|final)[ _]?)?(?:sentiment|label|polarity|annotation|gold|answer)"
    r"(?:[ _](?:label|polarity|class))?[\"'*_`\s]{0,4}[:=][\"'*_`\s]{0,4}"
    r"(?P<label>positive|negative|neutral|pos|neg|neu|[-+]?[012](?:\.0)?)(?!\w)",
    re.IGNORECASE,
)
"""A label field: its name, a colon or equals sign, and a label."""


class LeakedLabel(FrozenModel):
    """A label field in an input."""

    post: str
    location: str
    """`explanation by ANNOTATOR` or `meta.KEY`."""
    matched_text: str
    is_gold: bool
    """Whether it is the gold label."""


def gold_labels(example: Example) -> dict[Aspect, Polarity]:
    """Return the gold polarity of each aspect that has one."""
    return {o.aspect: o.polarity for o in example.opinions_by("gold") if o.polarity}


def find_label_fields(example: Example) -> Iterator[LeakedLabel]:
    """Yield every label field in the contexts and explanations of one row."""
    labels = gold_labels(example)
    all_labels = {str(p) for p in labels.values()}
    texts = [
        (f"explanation by {o.annotator}", o.explanation or "", {str(labels.get(o.aspect))})
        for o in example.opinions
        if o.annotator != "gold"
    ]
    texts += [
        (f"meta.{k}", v, all_labels) for k, v in example.post.meta.items() if isinstance(v, str)
    ]
    for location, text, expected in texts:
        for m in LABEL_FIELD_PATTERN.finditer(text):
            is_gold = any(g.startswith(m["label"].lower()) for g in expected)
            yield LeakedLabel(
                post=example.post.id, location=location, matched_text=m[0], is_gold=is_gold
            )


def find_label_leaks(source: str, examples: Iterable[Example]) -> list[LeakedLabel]:
    """Return every label field of a source, or none if it is a train split.

    Args:
        source: The name of the source; if it does not name a split, the source is checked.
        examples: The rows.
    """
    if is_train_split(source):
        return []
    return [leak for example in examples for leak in find_label_fields(example)]


def check_no_label_leak(source: str, examples: Iterable[Example]) -> None:
    """Check that the rows of a source have no label field, unless it is a train split.

    Args:
        source: The name of the source.
        examples: The rows.

    Raises:
        UserError: There is a label field.
    """
    leaks = find_label_leaks(source, examples)
    if leaks:
        raise UserError(
            f"{source}: {len(leaks)} label fields in contexts or explanations, first in post "
            f"{leaks[0].post!r}, {leaks[0].location}: {leaks[0].matched_text!r}",
            hint="generate them again without the label in the prompt, or remove the fields",
        )
