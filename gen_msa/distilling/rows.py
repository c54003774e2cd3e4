"""From examples to rows: what one reader said, as a question and its answer.

Knows nothing of tokens. What cannot be a row is counted with its reason; nothing is guessed.

    gather(recipe.data[0], recipe).rows[0]       # Row(id, text, aspect, target)
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gen_msa.data import open_source
from gen_msa.distilling.recipe import Data, Recipe
from gen_msa.errors import UserError
from gen_msa.students import Row
from gen_msa.types import Example, Rejected


@dataclass(frozen=True)
class Gathered:
    """The rows of one source."""

    source: str
    labels: str
    rows: tuple[Row, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> how many rows or lines could not be used."""

    @property
    def sha256(self) -> str:
        """Over texts, aspects and labels, in order: which data a figure was made on."""
        total = hashlib.sha256()
        for r in self.rows:
            told = [r.text, r.aspect.term, r.aspect.start, r.target]
            total.update(json.dumps(told).encode() + b"\n")
        return total.hexdigest()


def gather(data: Data, recipe: Recipe) -> Gathered:
    """Every row of a source that can be learned, at most `data.limit`, always the same ones.

    Raises `UserError` when there is none.
    """
    left_out: Counter[str] = Counter()
    rows: list[Row] = []
    for example in open_source(data.source).rows():
        if isinstance(example, Rejected):
            left_out["line could not be read"] += 1
        else:
            rows += _rows(example, data, recipe, left_out)
    if data.limit is not None and data.limit < len(rows):
        chosen = random.Random(f"{recipe.seed}/{data.source}").sample(range(len(rows)), data.limit)
        rows = [rows[i] for i in sorted(chosen)]
    if not rows:
        why = "; ".join(f"{n:,} {reason}" for reason, n in left_out.items())
        raise UserError(
            f"{data.source} has no row to learn from ({why or 'it is empty'})",
            mend="`labels` names whose opinions are learned",
        )
    return Gathered(data.source, data.labels, tuple(rows), left_out)


def _rows(example: Example, data: Data, recipe: Recipe, left_out: Counter[str]) -> Iterator[Row]:
    said = example.said_by(data.labels)
    if not said:
        left_out[f"post without an opinion by {data.labels}"] += 1
    for opinion in said:
        text = example.post.text if recipe.text == "post" else opinion.explanation
        if opinion.polarity is None:
            left_out["opinion without a polarity"] += 1
        elif not (text or "").strip():
            left_out[f"opinion without a {recipe.text} to read"] += 1
        else:
            term, start = opinion.aspect.term, opinion.aspect.start
            place = term if start is None else f"{term}@{start}"
            name = f"{data.source}/{example.post.id}/{place or 'whole post'}"
            yield Row(name, text or "", opinion.aspect, opinion.polarity)
