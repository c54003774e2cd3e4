"""From examples to rows: what one reader said, as a question and its answer, and what teachers say.

Knows nothing of tokens. What cannot be a row is counted with its reason; nothing is guessed.

    gather(recipe.data[0], recipe).rows[0]       # Row(id, text, aspect, target)
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gen_msa.data import open_source
from gen_msa.data.label_leak import FIELD
from gen_msa.distilling.filling import Asked, filled
from gen_msa.distilling.recipe import Data, Recipe
from gen_msa.distilling.refusing import Refused
from gen_msa.distilling.teaching import Voices
from gen_msa.errors import UserError
from gen_msa.students import Row
from gen_msa.types import WHOLE_POST, Aspect, Example, Opinion, Rejected


@dataclass(frozen=True)
class Gathered:
    """The rows of one source."""

    source: str
    labels: str
    rows: tuple[Row, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> how many rows or lines could not be used, wholly or in part."""
    examples: tuple[Example, ...] = ()
    """The posts that the rows are of; row `n` is of `examples[places[n]]`."""
    places: tuple[int, ...] = ()

    @property
    def sha256(self) -> str:
        """Over texts, aspects, labels and all else that is learned: which data this was."""
        total = hashlib.sha256()
        for r in self.rows:
            told: list[Any] = [r.text, r.aspect.term, r.aspect.start, r.target]
            told += [x for x in (r.soft, r.context) if x] + [r.weight] * (r.weight != 1.0)
            total.update(json.dumps(told).encode() + b"\n")
            for name in sorted(r.inputs):
                total.update(name.encode() + r.inputs[name].numpy().tobytes())
        return total.hexdigest()


def gather(data: Data, recipe: Recipe, asked: Asked | None = None) -> Gathered:
    """Every row of a source that can be learned, at most `data.limit`, always the same ones.

    `asked`: what rows carry besides words and labels; None: nothing. Raises `UserError` when there
    is no row, or when a dev row's context carries a label.
    """
    voices = Voices(data.teachers)
    left_out, source = voices.left_out, open_source(data.source)
    examples: list[Example] = []
    found: list[tuple[Row, int]] = []
    refused = Refused(data.source, data.labels, data.gates)
    for example in source.rows():
        if isinstance(example, Rejected):
            left_out["line could not be read"] += 1
            continue
        said = _said(example, data, refused)
        rows = _rows(example, said, data, recipe, voices, left_out)
        found += [(row, len(examples)) for row in rows]
        examples.append(example)
    if data.limit is not None and data.limit < len(found):
        chosen = random.Random(f"{recipe.seed}/{data.source}").sample(range(len(found)), data.limit)
        found = [found[i] for i in sorted(chosen)]
    if not found:
        why = "; ".join(f"{n:,} {reason}" for reason, n in left_out.items())
        raise UserError(
            f"{data.source} has no row to learn from ({why or 'it is empty'})",
            mend="`labels` names whose opinions are learned",
        )
    if asked is not None:
        found = filled(found, [e.post for e in examples], source.media_root, asked, left_out)
    learned, places = zip(*found, strict=True)
    if data in recipe.dev:
        _audit(data, learned)
    return Gathered(data.source, data.labels, learned, left_out, tuple(examples), places)


def _audit(data: Data, rows: Sequence[Row]) -> None:
    """A student chosen by contexts that know the label would be chosen for reading labels."""
    telling = [(r, m[0]) for r in rows if (m := FIELD.search(r.context))]
    if telling:
        row, field = telling[0]
        raise UserError(
            f"{data.source}: {len(telling)} contexts carry a label, first {row.id}: {field!r}",
            mend="write the contexts of dev posts again, without the label in the question",
        )


def _said(example: Example, data: Data, refused: Refused) -> list[tuple[Opinion, float]]:
    """The opinions to be learned, each with its weight among them."""
    if not data.labels:
        aspects = example.post.aspects or (WHOLE_POST,)
        return [(Opinion(by="nobody", aspect=a), 1.0) for a in aspects]
    return [*((o, 1.0) for o in example.said_by(data.labels)), *refused.of(example)]


def _rows(
    example: Example,
    said: Sequence[tuple[Opinion, float]],
    data: Data,
    recipe: Recipe,
    voices: Voices,
    left_out: Counter[str],
) -> Iterator[Row]:
    if not said:
        left_out[f"post without an opinion by {data.labels}"] += 1
    for opinion, weight in said:
        text = example.post.text if recipe.text == "post" else opinion.explanation
        soft = voices.soft(example.post, opinion.aspect)
        if opinion.polarity is None and not soft and not (recipe.teacher and not data.labels):
            left_out["opinion without a polarity"] += 1
        elif not (text or "").strip():
            left_out[f"opinion without a {recipe.text} to read"] += 1
        else:
            if data.teachers and not soft:
                left_out["row that no teacher speaks of; learned from its label alone"] += 1
            yield Row(
                _name(example, data, opinion.aspect),
                text or "",
                opinion.aspect,
                opinion.polarity,
                soft=soft,
                weight=data.weight * weight * (max(soft) ** data.confidence if soft else 1.0),
            )


def _name(example: Example, data: Data, aspect: Aspect) -> str:
    place = aspect.term if aspect.start is None else f"{aspect.term}@{aspect.start}"
    return f"{data.source}/{example.post.id}/{place or 'whole post'}"
