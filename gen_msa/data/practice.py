"""practice: short English posts of plain clauses, part of the package, to see a model learn.

`_practice/clauses.tsv` has 144 hand-written clauses, each with one label and an aspect in brackets.
A post joins two clauses of different labels, and each clause stands in two posts. No clause of dev
is in train. The labels are balanced, so a guess is right a third of the time. It is easy on
purpose: it shows that training works, not how well a model reads real posts.

    open_examples("practice:train").rows()
"""

import csv
from pathlib import Path

from gen_msa.data.base import datasets
from gen_msa.data.formats.base import ExampleStream
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post

FOLDER = Path(__file__).parent / "_practice"
_JOINTS = (", but ", " and ", "; ", ", while ", ". By the way, ")
_PAIRS = (
    (Polarity.POSITIVE, Polarity.NEGATIVE),
    (Polarity.NEGATIVE, Polarity.NEUTRAL),
    (Polarity.NEUTRAL, Polarity.POSITIVE),
)


@datasets.register
class Practice:
    """108 posts to train on and 36 for dev, two aspects each."""

    about = "144 short posts joined from hand-written clauses, to see training work; packaged."
    splits: tuple[str, ...] = ("train", "dev")
    is_packaged = True

    def media_root(self, root: Path) -> Path:
        """Return the folder inside the package; `root` is ignored, and there are no images."""
        return FOLDER

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read the posts, in order.

        Args:
            root: Ignored.
            split: `train` or `dev`.

        Returns:
            The posts.
        """
        with (FOLDER / "clauses.tsv").open(encoding="utf-8", newline="") as f:
            rows = [r for r in csv.DictReader(f, delimiter="\t") if r["split"] == split]
        by_label = {
            polarity: [r["clause"] for r in rows if r["label"] == polarity]
            for polarity, _ in _PAIRS
        }
        for first, second in _PAIRS:
            # Shifted, so that the clauses of one subject do not meet.
            partners = by_label[second][5:] + by_label[second][:5]
            for n, clauses in enumerate(zip(by_label[first], partners, strict=True), 1):
                post_id = f"{split}-{first}-{n:02}"
                yield _example(post_id, clauses, (first, second), _JOINTS[n % len(_JOINTS)])


def _example(
    post_id: str, clauses: tuple[str, str], polarities: tuple[Polarity, Polarity], joint: str
) -> Example:
    text, aspects = "", []
    for clause in clauses:
        before, _, rest = clause.partition("[")
        term, _, after = rest.partition("]")
        text += joint if text else ""
        aspects.append(Aspect(term=term, start=len(text) + len(before)))
        text += before + term + after
    post = Post(id=post_id, text=f"{text[0].upper()}{text[1:]}.", aspects=tuple(aspects))
    opinions = [
        Opinion(annotator="gold", aspect=aspect, polarity=polarity)
        for aspect, polarity in zip(aspects, polarities, strict=True)
    ]
    return Example(post=post, opinions=tuple(opinions))
