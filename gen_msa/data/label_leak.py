"""The label audit: no context or reason of a dev or test row carries a label field.

A student that is shown a context which says `Sentiment: positive` learns to copy it, and gets a
figure that no new post can have (a defect of published training data). Looked at are explanations,
gold's own excepted, and the texts in `Post.meta`; `raw` is a reader's whole answer, label line and
all, and is shown to no student. Which split rows are of, the name of their source says.

    audit("twitter2015:dev", examples)               # raises UserError at what it finds
"""

import re
from collections.abc import Iterable, Iterator

from gen_msa.data.splits import is_train_split
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
    """A label field where none may be."""

    post: str
    location: str
    """`explanation by NAME` or `meta.KEY`."""
    matched_text: str
    is_gold: bool
    """Whether it is the label that gold has."""


def gold_labels(example: Example) -> dict[Aspect, Polarity]:
    """Gold's polarity of each aspect that has one."""
    return {o.aspect: o.polarity for o in example.opinions_by("gold") if o.polarity}


def find_label_fields(example: Example) -> Iterator[LeakedLabel]:
    """Every label field in the contexts and reasons of one row."""
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
    """Every label field of a source that is not a train split; none is looked for in a train split.

    A file that does not say which split it is counts as kept apart.
    """
    if is_train_split(source):
        return []
    return [leak for example in examples for leak in find_label_fields(example)]


def check_no_label_leak(source: str, examples: Iterable[Example]) -> None:
    """Raise `UserError` when a row that is not of a train split carries a label field."""
    leaks = find_label_leaks(source, examples)
    if leaks:
        raise UserError(
            f"{source}: {len(leaks)} label fields in contexts or reasons, first in post "
            f"{leaks[0].post!r}, {leaks[0].location}: {leaks[0].matched_text!r}",
            hint="write them again without the label in the question, or take the fields out",
        )
