"""Give posts the aspects that a user lists once for all of them.

Each aspect is located in each post. One that a post does not contain stays, without an offset: a
model is then asked about it with the whole post in view, because "far too expensive" is about the
price. `Aspect.start` tells both apart, and so does an empty cell `start` of the CSV.

    with_fixed_aspects(open_examples("reviews.csv"), ["price", "battery life"]).rows()
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

from pydantic import ValidationError

from gen_msa.data.base import ExampleSource
from gen_msa.data.formats._common import locate_aspects
from gen_msa.data.formats.base import ExampleStream
from gen_msa.errors import InputWarning, UserError
from gen_msa.jsonl import format_validation_error
from gen_msa.types import Aspect, Example, Post


def locate_missing_offsets(example: Example) -> Example:
    """Return the example with offsets for aspects that have none; offsets that are given stay."""
    aspects = example.post.aspects
    terms = [a.term for a in aspects if a.start is None and a.term]
    if not terms:
        return example
    located = iter(locate_aspects(example.post.text, terms))
    return _replace_aspects(
        example, tuple(next(located) if a.start is None and a.term else a for a in aspects)
    )


def with_aspects(example: Example, aspects: Sequence[str | Aspect]) -> Example:
    """Return the example with these aspects in place of its own; its opinions stay.

    Args:
        example: The example.
        aspects: Terms, which are located, and aspects, whose offsets are kept.

    Raises:
        UserError: An aspect is not at its offset, or is listed more often than mentioned.
    """
    plain = tuple(Aspect(term=a) if isinstance(a, str) else a for a in aspects)
    return locate_missing_offsets(_replace_aspects(example, plain))


def with_fixed_aspects(source: ExampleSource, terms: Sequence[str]) -> ExampleSource:
    """Return the source with the same aspects in every post, in place of its own.

    The first post that has other aspects of its own is named in an `InputWarning`; labels of them
    stay in the example.

    Args:
        source: The posts.
        terms: The aspects; none leaves the source as it is.
    """
    return replace(source, read=lambda: _rows(source, terms)) if terms else source


def _rows(source: ExampleSource, terms: Sequence[str]) -> ExampleStream:
    has_warned = False
    for row in source.read():
        if not isinstance(row, Example):
            yield row
            continue
        example = with_aspects(row, terms)
        if row.post.aspects and row.post.aspects != example.post.aspects and not has_warned:
            has_warned = True
            note = f"{source.name}: posts have aspects of their own, first {row.post.id!r}"
            note += "; the given aspects are asked about in their place"
            warnings.warn(note, InputWarning, stacklevel=2)
        yield example


def _replace_aspects(example: Example, aspects: tuple[Aspect, ...]) -> Example:
    post = example.post
    try:
        fields = {name: getattr(post, name) for name in type(post).model_fields}
        return Example(post=Post(**{**fields, "aspects": aspects}), opinions=example.opinions)
    except ValidationError as e:
        raise UserError(f"post {post.id!r}: {format_validation_error(e)}") from None
