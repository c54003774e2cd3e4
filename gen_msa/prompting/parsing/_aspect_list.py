"""Parse a joint answer: the aspects that it names, each located in the post.

The answer is JSON (a list of objects, at any depth of wrapping) or blocks of keyed lines that each
begin with the aspect. An aspect is searched for exactly, then after case folding and NFC.

    answer = '{"aspects": [{"aspect": "phone", "sentiment": "positive"}]}'
    parse_aspect_list(answer, prompt, "My phone!").aspects[0].answer.label
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gen_msa.prompting.parsing._cascade import (
    ParsedAnswer,
    answer_from_object,
    find_json_objects,
    first_line,
    nested_objects,
    only_label,
    parse_keyed_lines,
    parse_label,
    role_for_key,
)
from gen_msa.prompting.prompt import Prompt
from gen_msa.spans import fold, locate_phrases
from gen_msa.types import CONFLICT_KEY, Aspect, Polarity, conflict_text

MAX_ASPECTS = 64
MAX_TERM_CHARS = 200


@dataclass(frozen=True)
class ParsedAspect:
    """One aspect of a joint answer and the answer about it."""

    aspect: Aspect
    answer: ParsedAnswer
    notes: dict[str, str]


@dataclass(frozen=True)
class ParsedAspectList:
    """A joint answer; `form` is "none" if it could not be parsed."""

    form: str
    aspects: tuple[ParsedAspect, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


def parse_aspect_list(text: str, prompt: Prompt, post_text: str) -> ParsedAspectList:
    """Parse what `text` says about each aspect, in its order; duplicate aspects are merged.

    Args:
        text: The answer without thinking.
        prompt: The prompt that was answered.
        post_text: The text in which aspects are located.

    Returns:
        Up to `MAX_ASPECTS` aspects and notes on those left out. A cut answer, or one that names no
        aspect, has the form `none`; an explicit empty list has the form `json`.
    """
    label_words = {word: p for p, word in prompt.labels.items()}
    json_objects, is_cut = find_json_objects(text)
    if is_cut:
        return ParsedAspectList("none")
    parsed_items = [
        r
        for o in json_objects
        for d in (o.value, *nested_objects(o.value))
        if (r := _parse_item(d, prompt, label_words))
    ]
    form = "json"
    if not parsed_items:
        if any(
            role_for_key(k, prompt.keys) == "aspects" and v == []
            for o in json_objects
            for k, v in o.value.items()
        ):
            return ParsedAspectList("json", notes={"aspects": "none named"})
        parsed_items, form = list(_parse_blocks(text, prompt, label_words)), "lines"
    items_with_aspect = [r for r in parsed_items if r.aspect]
    if not items_with_aspect:
        return ParsedAspectList("none")
    notes = {}
    if len(items_with_aspect) > MAX_ASPECTS:
        notes["aspects"] = f"the first {MAX_ASPECTS} of {len(items_with_aspect)}"
    elif len(items_with_aspect) < len(parsed_items):
        notes["aspects"] = f"{len(parsed_items) - len(items_with_aspect)} without a name left out"
    return ParsedAspectList(
        form, tuple(_merge_by_aspect(items_with_aspect[:MAX_ASPECTS], post_text)), notes
    )


def _parse_item(
    value: dict[str, object], prompt: Prompt, label_words: Mapping[str, Polarity]
) -> ParsedAnswer | None:
    """Parse one object of the list, even if it names an aspect without a label."""
    parsed = answer_from_object(value, prompt, label_words)
    if parsed:
        return parsed
    terms = [v for k, v in value.items() if role_for_key(k, prompt.keys) == "aspect"]
    if terms and isinstance(terms[0], str):
        return ParsedAnswer("json", aspect=terms[0].strip())
    return None


def _parse_blocks(
    text: str, prompt: Prompt, label_words: Mapping[str, Polarity]
) -> Iterable[ParsedAnswer]:
    """Yield one answer for each aspect line, from the keyed lines below it."""
    blocks: list[dict[str, list[str]]] = []
    for role, value, *_ in parse_keyed_lines(text, prompt.keys):
        if role == "aspect":
            blocks.append({})
        if blocks:
            blocks[-1].setdefault(role, []).append(value)
    for block in blocks:
        yield ParsedAnswer(
            form="lines",
            label=only_label(
                {parse_label(first_line(v), label_words) for v in block.get("label", [])}
            ),
            explanation=next(iter(block.get("explanation", [])), None) or None,
            aspect=first_line(block["aspect"][0]).strip(" \t*_\"'“”`,"),
        )


def _merge_by_aspect(parsed_items: list[ParsedAnswer], text: str) -> Iterable[ParsedAspect]:
    """Merge answers about the same aspect; with different labels, the result has no label."""
    by_aspect: dict[str, list[tuple[Aspect, str, ParsedAnswer]]] = {}
    for parsed in parsed_items:
        aspect, span = _align_aspect((parsed.aspect or "")[:MAX_TERM_CHARS], text)
        by_aspect.setdefault(fold(aspect.term), []).append((aspect, span, parsed))
    for duplicates in by_aspect.values():
        aspect, span, first = duplicates[0]
        notes = {"span": span}
        if len(duplicates) > 1:
            notes["duplicates"] = f"{len(duplicates)} collapsed"
        labels = [r.label for _, _, r in duplicates]
        if len(set(labels)) > 1:
            notes[CONFLICT_KEY] = conflict_text(labels)
        label = only_label(set(labels))
        yield ParsedAspect(aspect, first if label else ParsedAnswer(first.form), notes)


def _align_aspect(term: str, text: str) -> tuple[Aspect, str]:
    span = locate_phrases(text, [term])[0]
    if span is None:
        return Aspect(term=term), "absent"
    mention = text[slice(*span)]
    how = "exact" if mention == term else "casefold+NFC"
    return Aspect(term=mention, start=span[0]), how
