"""A joint answer: the aspects it names, each set where it stands in the post.

Knows nothing of opinions. Reads JSON (a list of objects, however wrapped) or blocks of keyed lines
that each begin with the aspect; an aspect is sought letter for letter, then by casefold and NFC.

    said_aspects('{"aspects": [{"aspect": "phone", "sentiment": "positive"}]}', prompt, "My phone!")
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gen_msa.prompting.answers._json import objects
from gen_msa.prompting.answers._labels import label_of
from gen_msa.prompting.answers._ladder import Reading, from_object, inner, one
from gen_msa.prompting.answers._lines import fields, first_line, role_of
from gen_msa.prompting.prompt import Prompt
from gen_msa.spans import Spans, find_exact, fold
from gen_msa.types import Aspect, Polarity

MAX_ASPECTS = 64
MAX_TERM = 200


@dataclass(frozen=True)
class SaidAspect:
    """One aspect of a joint answer and what was said of it."""

    aspect: Aspect
    reading: Reading
    notes: dict[str, str]


@dataclass(frozen=True)
class Said:
    """A joint answer. `form="none"`: it could not be read."""

    form: str
    aspects: tuple[SaidAspect, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


def said_aspects(text: str, prompt: Prompt, post_text: str) -> Said:
    """What `text` says of each aspect, in its order; aspects named twice are one."""
    own = {word: p for p, word in prompt.labels.items()}
    found, cut = objects(text)
    if cut:
        return Said("none")
    readings = [r for o in found for d in (o, *inner(o)) if (r := _item(d, prompt, own))]
    form = "json"
    if not readings:
        if any(
            role_of(k, prompt.keys) == "aspects" and v == [] for o in found for k, v in o.items()
        ):
            return Said("json", notes={"aspects": "none named"})
        readings, form = list(_blocks(text, prompt, own)), "lines"
    named = [r for r in readings if r.aspect]
    if not named:
        return Said("none")
    notes = {}
    if len(named) > MAX_ASPECTS:
        notes["aspects"] = f"the first {MAX_ASPECTS} of {len(named)}"
    elif len(named) < len(readings):
        notes["aspects"] = f"{len(readings) - len(named)} without a name left out"
    return Said(form, tuple(_merged(named[:MAX_ASPECTS], post_text)), notes)


def _item(value: dict[str, object], prompt: Prompt, own: Mapping[str, Polarity]) -> Reading | None:
    """One object of the list, also when it names an aspect and no label."""
    said = from_object(value, prompt, own)
    if said:
        return said
    terms = [v for k, v in value.items() if role_of(k, prompt.keys) == "aspect"]
    if terms and isinstance(terms[0], str):
        return Reading("json", aspect=terms[0].strip())
    return None


def _blocks(text: str, prompt: Prompt, own: Mapping[str, Polarity]) -> Iterable[Reading]:
    """One reading for each aspect line, from the keyed lines below it."""
    blocks: list[dict[str, list[str]]] = []
    for role, value in fields(text, prompt.keys):
        if role == "aspect":
            blocks.append({})
        if blocks:
            blocks[-1].setdefault(role, []).append(value)
    for block in blocks:
        yield Reading(
            form="lines",
            label=one({label_of(first_line(v), own) for v in block.get("label", [])}),
            explanation=next(iter(block.get("explanation", [])), None) or None,
            aspect=first_line(block["aspect"][0]).strip(" \t*_\"'“”`,"),
        )


def _merged(readings: list[Reading], text: str) -> Iterable[SaidAspect]:
    """Readings by aspect: what is said twice stands once; what is said both ways has no label."""
    spans = Spans(text)
    by_aspect: dict[str, list[tuple[Aspect, str, Reading]]] = {}
    for reading in readings:
        aspect, span = _aligned((reading.aspect or "")[:MAX_TERM], text, spans)
        by_aspect.setdefault(fold(aspect.term), []).append((aspect, span, reading))
    for same in by_aspect.values():
        aspect, span, first = same[0]
        notes = {"span": span}
        if len(same) > 1:
            notes["duplicates"] = f"{len(same)} collapsed"
        label = one({r.label for _, _, r in same})
        yield SaidAspect(aspect, first if label else Reading(first.form), notes)


def _aligned(term: str, text: str, spans: Spans) -> tuple[Aspect, str]:
    if span := find_exact(text, term):
        return Aspect(term=term, start=span[0]), "exact"
    if span := spans.find(term):
        return Aspect(term=text[slice(*span)], start=span[0]), "casefold+NFC"
    return Aspect(term=term), "absent"
