"""Sources of reasons in order, as a recipe names them: `NAME[:TARGET][*SHARE]`.

Knows nothing of how a source makes a reason.

    find("minigpt4:twitter2015,cue*0.3").reasoned(examples, "gold")
"""

import hashlib
import re
from collections.abc import Sequence

from gen_msa.errors import UserError
from gen_msa.finetuning.reasons.base import Listening, ReasonSource, reasons
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post

Known = dict[tuple[Aspect, Polarity | None], tuple[str, str]]
"""(Aspect, polarity) -> (reason, name of its source)."""

_ONE = re.compile(r"(?P<name>\w+)(?::(?P<target>[^,*]*))?(?:\*(?P<share>[0-9.]+))?")


class Reasons:
    """Sources in order, each with the share of labels that it is asked about."""

    def __init__(self, sources: Sequence[tuple[str, ReasonSource | Listening, float]]) -> None:
        self._sources = sources

    def reasoned(self, examples: Sequence[Example], labels: str) -> list[Example]:
        """The examples with the opinions of `labels` explained; without any source, as they are.

        `how["reason"]` names the source. An opinion that no source explains has no explanation.
        The examples keep the other readers' opinions, which only a `Listening` source sees.
        """
        if not self._sources:
            return list(examples)
        asked = [
            Example(post=e.post, opinions=tuple(o for o in e.said_by(labels) if o.polarity))
            for e in examples
        ]
        found: list[Known] = [{} for _ in asked]
        for name, kind, share in self._sources:
            source = kind.hearing(examples) if isinstance(kind, Listening) else kind
            left = [_left(e, known, share) for e, known in zip(asked, found, strict=True)]
            for e, known, said in zip(left, found, source.reasons(left), strict=True):
                for opinion, reason in zip(e.opinions, said, strict=True):
                    if reason is not None:
                        known[opinion.aspect, opinion.polarity] = (reason, name)
        return [_explained(e, labels, known) for e, known in zip(examples, found, strict=True)]


def find(spec: str) -> Reasons:
    """The sources that `spec` names, `""` for the opinions' own explanations.

    Raises `UserError` for an unknown name and for a share that is not above 0 and at most 1.
    """
    sources = []
    for part in filter(None, (p.strip() for p in spec.split(","))):
        match = _ONE.fullmatch(part)
        if not match or not 0 < _number(match["share"]) <= 1:
            mend = "write NAME[:TARGET][*SHARE], with a share above 0 and at most 1"
            raise UserError(f"{part!r} names no source of reasons", mend=mend)
        name = match["name"]
        sources.append((part, reasons[name](match["target"] or ""), _number(match["share"])))
    return Reasons(sources)


def _number(share: str | None) -> float:
    try:
        return float(share or 1)
    except ValueError:
        return 0.0


def _left(example: Example, known: Known, share: float) -> Example:
    """With the opinions that no source has explained yet and that fall into this one's share."""
    opinions = tuple(
        o
        for o in example.opinions
        if (o.aspect, o.polarity) not in known and draw(example.post, o, "share") < share
    )
    return Example(post=example.post, opinions=opinions)


def draw(post: Post, opinion: Opinion, what: str) -> float:
    """A number in [0, 1) that depends on post and aspect alone, the same on every machine."""
    key = f"{what}\0{post.id}\0{opinion.aspect.term}\0{opinion.aspect.start}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def _explained(example: Example, labels: str, known: Known) -> Example:
    def told(o: Opinion) -> Opinion:
        if o.by != labels:
            return o
        reason, name = known.get((o.aspect, o.polarity), (None, ""))
        how = {**o.how, "reason": name} if name else o.how
        return o.model_copy(update={"explanation": reason, "evidence": (), "how": how})

    return Example(post=example.post, opinions=tuple(map(told, example.opinions)))
