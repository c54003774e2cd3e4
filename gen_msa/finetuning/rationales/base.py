"""Interfaces of rationale sources, their registry, and the order in which a recipe names them.

rationale_sources["minigpt4"]("twitter2015").rationales(examples)
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gen_msa.errors import UserError
from gen_msa.registry import Registry
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post


class RationaleSource(Protocol):
    """Explains labels."""

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """Return, for each example and each of its opinions, a one-line rationale or None.

        Every opinion has a polarity. A source uses only the post and the opinion's aspect and
        polarity, unless it says otherwise.
        """
        ...


@runtime_checkable
class BindableSource(Protocol):
    """A source that uses the opinions of other annotators on the examples."""

    def bind(self, examples: Sequence[Example]) -> RationaleSource:
        """Return the source for these examples; it is then called with them, in this order."""
        ...


class RationaleSourceFactory(Protocol):
    """What a source module registers."""

    def __call__(self, target: str) -> RationaleSource | BindableSource:
        """Create the source.

        Args:
            target: What follows the colon, or "".

        Raises:
            UserError: If the target is invalid.
        """
        ...


rationale_sources: Registry[RationaleSourceFactory] = Registry(
    "rationale source", "gen_msa.finetuning.rationales", "gen_msa.rationales"
)


# Rationale sources in order, as a recipe names them: `NAME[:TARGET][*SHARE]`.

KnownRationales = dict[tuple[Aspect, Polarity | None], tuple[str, str]]
"""(Aspect, polarity) -> (rationale, name of its source)."""

_SPEC = re.compile(r"(?P<name>\w+)(?::(?P<target>[^,*]*))?(?:\*(?P<share>[0-9.]+))?")


class RationaleChain:
    """Sources in order, each with the share of labels that it is asked for.

    Args:
        sources: (Name, source, share in 0..1) of each.
    """

    def __init__(
        self, sources: Sequence[tuple[str, RationaleSource | BindableSource, float]]
    ) -> None:
        self._sources = sources

    def explain(self, examples: Sequence[Example], labels: str) -> list[Example]:
        """Explain the opinions of one annotator; without any source, return the examples unchanged.

        `provenance["rationale"]` names the source. An opinion that no source explains loses its
        explanation. Opinions of other annotators stay; only a `BindableSource` sees them.

        Args:
            examples: The examples.
            labels: The annotator whose opinions are explained.

        Returns:
            One example for each given one, in order.
        """
        if not self._sources:
            return list(examples)
        labeled = [
            Example(post=e.post, opinions=tuple(o for o in e.opinions_by(labels) if o.polarity))
            for e in examples
        ]
        known_per_example: list[KnownRationales] = [{} for _ in labeled]
        for name, source_or_bindable, share in self._sources:
            source = (
                source_or_bindable.bind(examples)
                if isinstance(source_or_bindable, BindableSource)
                else source_or_bindable
            )
            unexplained = [
                _unexplained(e, known_rationales, share)
                for e, known_rationales in zip(labeled, known_per_example, strict=True)
            ]
            for e, known_rationales, rationales in zip(
                unexplained, known_per_example, source.rationales(unexplained), strict=True
            ):
                for opinion, rationale in zip(e.opinions, rationales, strict=True):
                    if rationale is not None:
                        known_rationales[opinion.aspect, opinion.polarity] = (rationale, name)
        return [
            _with_rationales(e, labels, known_rationales)
            for e, known_rationales in zip(examples, known_per_example, strict=True)
        ]


def find_sources(spec: str) -> RationaleChain:
    """Parse a list of sources; `""` keeps the opinions' own explanations.

    Raises:
        UserError: If a name is unknown, or a share is not above 0 and at most 1.
    """
    sources = []
    for part in filter(None, (p.strip() for p in spec.split(","))):
        match = _SPEC.fullmatch(part)
        if not match or not 0 < _parse_share(match["share"]) <= 1:
            hint = "write NAME[:TARGET][*SHARE], with a share above 0 and at most 1"
            raise UserError(f"{part!r} names no rationale source", hint=hint)
        name = match["name"]
        sources.append(
            (part, rationale_sources[name](match["target"] or ""), _parse_share(match["share"]))
        )
    return RationaleChain(sources)


def _parse_share(share: str | None) -> float:
    try:
        return float(share or 1)
    except ValueError:
        return 0.0


def _unexplained(example: Example, known_rationales: KnownRationales, share: float) -> Example:
    """Return the example with the opinions that are unexplained and within the share."""
    opinions = tuple(
        o
        for o in example.opinions
        if (o.aspect, o.polarity) not in known_rationales
        and stable_random(example.post, o, "share") < share
    )
    return Example(post=example.post, opinions=opinions)


def stable_random(post: Post, opinion: Opinion, purpose: str) -> float:
    """Return a number in [0, 1) that depends only on its arguments, on every machine.

    Args:
        post: The post; its id is used.
        opinion: The opinion; its aspect is used.
        purpose: Separates independent draws.
    """
    key = f"{purpose}\0{post.id}\0{opinion.aspect.term}\0{opinion.aspect.start}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def _with_rationales(example: Example, labels: str, known_rationales: KnownRationales) -> Example:
    def with_rationale(o: Opinion) -> Opinion:
        if o.annotator != labels:
            return o
        rationale, name = known_rationales.get((o.aspect, o.polarity), (None, ""))
        provenance = {**o.provenance, "rationale": name} if name else o.provenance
        return o.model_copy(
            update={"explanation": rationale, "evidence": (), "provenance": provenance}
        )

    return Example(post=example.post, opinions=tuple(map(with_rationale, example.opinions)))
