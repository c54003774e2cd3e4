"""Sources of reasons in order, as a recipe names them: `NAME[:TARGET][*SHARE]`.

Knows nothing of how a source makes a reason.

    find("minigpt4:twitter2015,cue*0.3").reasoned(examples, "gold")
"""

import hashlib
import re
from collections.abc import Sequence

from gen_msa.errors import UserError
from gen_msa.finetuning.rationales.base import BindableSource, RationaleSource, rationale_sources
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post

KnownRationales = dict[tuple[Aspect, Polarity | None], tuple[str, str]]
"""(Aspect, polarity) -> (reason, name of its source)."""

_SPEC = re.compile(r"(?P<name>\w+)(?::(?P<target>[^,*]*))?(?:\*(?P<share>[0-9.]+))?")


class RationaleChain:
    """Sources in order, each with the share of labels that it is asked about."""

    def __init__(
        self, sources: Sequence[tuple[str, RationaleSource | BindableSource, float]]
    ) -> None:
        self._sources = sources

    def explain(self, examples: Sequence[Example], labels: str) -> list[Example]:
        """The examples with the opinions of `labels` explained; without any source, as they are.

        `how["reason"]` names the source. An opinion that no source explains has no explanation.
        The examples keep the other readers' opinions, which only a `Listening` source sees.
        """
        if not self._sources:
            return list(examples)
        labeled = [
            Example(post=e.post, opinions=tuple(o for o in e.opinions_by(labels) if o.polarity))
            for e in examples
        ]
        known_by_example: list[KnownRationales] = [{} for _ in labeled]
        for name, source_or_bindable, share in self._sources:
            source = (
                source_or_bindable.bind(examples)
                if isinstance(source_or_bindable, BindableSource)
                else source_or_bindable
            )
            unexplained = [
                _unexplained(e, rationales_found, share)
                for e, rationales_found in zip(labeled, known_by_example, strict=True)
            ]
            for e, rationales_found, rationales in zip(
                unexplained, known_by_example, source.rationales(unexplained), strict=True
            ):
                for opinion, rationale in zip(e.opinions, rationales, strict=True):
                    if rationale is not None:
                        rationales_found[opinion.aspect, opinion.polarity] = (rationale, name)
        return [
            _with_rationales(e, labels, rationales_found)
            for e, rationales_found in zip(examples, known_by_example, strict=True)
        ]


def find_sources(spec: str) -> RationaleChain:
    """The sources that `spec` names, `""` for the opinions' own explanations.

    Raises `UserError` for an unknown name and for a share that is not above 0 and at most 1.
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


def _unexplained(example: Example, rationales_found: KnownRationales, share: float) -> Example:
    """With the opinions that no source has explained yet and that fall into this one's share."""
    opinions = tuple(
        o
        for o in example.opinions
        if (o.aspect, o.polarity) not in rationales_found
        and stable_random(example.post, o, "share") < share
    )
    return Example(post=example.post, opinions=opinions)


def stable_random(post: Post, opinion: Opinion, purpose: str) -> float:
    """A number in [0, 1) that depends on post and aspect alone, the same on every machine."""
    key = f"{purpose}\0{post.id}\0{opinion.aspect.term}\0{opinion.aspect.start}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def _with_rationales(example: Example, labels: str, rationales_found: KnownRationales) -> Example:
    def with_rationale(o: Opinion) -> Opinion:
        if o.annotator != labels:
            return o
        rationale, name = rationales_found.get((o.aspect, o.polarity), (None, ""))
        provenance = {**o.provenance, "rationale": name} if name else o.provenance
        return o.model_copy(
            update={"explanation": rationale, "evidence": (), "provenance": provenance}
        )

    return Example(post=example.post, opinions=tuple(map(with_rationale, example.opinions)))
