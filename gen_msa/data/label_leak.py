"""The label audit: no context or reason of a dev or test row carries a label field.

A student that is shown a context which says `Sentiment: positive` learns to copy it, and gets a
figure that no new post can have (a defect of published training data). Looked at are explanations,
gold's own excepted, and the texts in `Post.meta`; `raw` is a reader's whole answer, label line and
all, and is shown to no student. Which split rows are of, the name of their source says.

    audit("twitter2015:dev", examples)               # raises UserError at what it finds
"""

import re
from collections.abc import Iterable, Iterator

from gen_msa.data.splits import is_train
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Noun, Polarity

FIELD = re.compile(
    r"(?<!\w)(?:(?:gold|true|final)[ _]?)?(?:sentiment|label|polarity|annotation|gold|answer)"
    r"(?:[ _](?:label|polarity|class))?[\"'*_`\s]{0,4}[:=][\"'*_`\s]{0,4}"
    r"(?P<label>positive|negative|neutral|pos|neg|neu|[-+]?[012](?:\.0)?)(?!\w)",
    re.IGNORECASE,
)
"""A label field: its name, a colon or equals sign, and a label."""


class LabelField(Noun):
    """A label field where none may be."""

    post: str
    where: str
    """`explanation by NAME` or `meta.KEY`."""
    found: str
    gold: bool
    """Whether it is the label that gold has."""


def labels_of(example: Example) -> dict[Aspect, Polarity]:
    """Gold's polarity of each aspect that has one."""
    return {o.aspect: o.polarity for o in example.said_by("gold") if o.polarity}


def label_fields(example: Example) -> Iterator[LabelField]:
    """Every label field in the contexts and reasons of one row."""
    labels = labels_of(example)
    every = {str(p) for p in labels.values()}
    texts = [
        (f"explanation by {o.by}", o.explanation or "", {str(labels.get(o.aspect))})
        for o in example.opinions
        if o.by != "gold"
    ]
    texts += [(f"meta.{k}", v, every) for k, v in example.post.meta.items() if isinstance(v, str)]
    for where, text, gold in texts:
        for m in FIELD.finditer(text):
            same = any(g.startswith(m["label"].lower()) for g in gold)
            yield LabelField(post=example.post.id, where=where, found=m[0], gold=same)


def found_in(source: str, examples: Iterable[Example]) -> list[LabelField]:
    """Every label field of a source that is not a train split; none is looked for in a train split.

    A file that does not say which split it is counts as kept apart.
    """
    if is_train(source):
        return []
    return [field for example in examples for field in label_fields(example)]


def audit(source: str, examples: Iterable[Example]) -> None:
    """Raise `UserError` when a row that is not of a train split carries a label field."""
    found = found_in(source, examples)
    if found:
        raise UserError(
            f"{source}: {len(found)} label fields in contexts or reasons, first in post "
            f"{found[0].post!r}, {found[0].where}: {found[0].found!r}",
            mend="write them again without the label in the question, or take the fields out",
        )
