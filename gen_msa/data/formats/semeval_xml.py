"""Sentences with aspect terms as XML: SemEval-2014 to 2016, and MAMS.

Offsets are checked: a sentence with a wrong one is `Rejected`. A label outside the three classes
(`conflict`) becomes an opinion without polarity, `raw="conflict"`; a term without a label is an
aspect without an opinion. Categories become opinions by `gold_category`, whose aspect has no offset
and is not listed in the post. `Opinions` of 2015 and 2016 are read as both: the target (if it is
not `NULL`) as an aspect, the category as an opinion by `gold_category`; labels of one aspect that
differ are a conflict. Elements that are not read are counted in a note. Files are written in the
form of 2014. Sentences without an id are named FILE_STEM-N. Entities and DTDs are
refused.

    <sentences><sentence id="1"><text>good food</text><aspectTerms>
      <aspectTerm term="food" polarity="positive" from="5" to="9"/></aspectTerms></sentence>…
"""

import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as Plain

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse
from pydantic import ValidationError

from gen_msa.data.formats._common import (
    CATEGORY_ANNOTATOR,
    GOLD_ANNOTATOR,
    check_round_trip,
    gold_opinion_from_text,
    reject_row,
    unsupported_field_error,
)
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.errors import InputWarning
from gen_msa.jsonl import MAX_LINE_BYTES, atomic_write, format_validation_error
from gen_msa.types import Aspect, Example, Opinion, Post, Rejected

_HEAD = b'<?xml version="1.0" encoding="utf-8"?>\n<sentences>\n'
_TAIL = b"</sentences>\n"


@formats.register
class SemevalXml:
    """Reads the XML of SemEval-2014 to 2016 and of MAMS; writes that of 2014."""

    suffixes: tuple[str, ...] = (".xml",)
    about = "SemEval-2014 to 2016 and MAMS XML: sentences with aspect terms by offset."

    def read(self, path: Path) -> ExampleStream:
        """Read every sentence, in order. Invalid XML ends the reading with a last `Rejected`."""
        with path.open("rb") as f:
            yield from _parse(path, f, 1)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one sentence per post.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """

        def parse_back(records: list[bytes], number: int) -> ExampleStream:
            return _parse(path, io.BytesIO(_HEAD + b"".join(records) + _TAIL), number)

        with atomic_write(path) as f:
            f.write(_HEAD)
            for records in check_round_trip("semeval_xml", examples, _dump, parse_back):
                f.writelines(records)
            f.write(_TAIL)


class _BoundedFile:
    """A file that raises an error if a sentence grows over the size limit."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes_since_sentence = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.bytes_since_sentence += len(chunk)
        if self.bytes_since_sentence > MAX_LINE_BYTES:
            raise ValueError(f"a sentence over the limit of {MAX_LINE_BYTES} bytes")
        return chunk


_ROOTS = ("sentences", "Reviews", "Review")
_LAYOUT = {*_ROOTS, "sentence"}
_SENTENCE_PARTS = {
    "text": (),
    "aspectTerms": ("aspectTerm",),
    "aspectCategories": ("aspectCategory",),
    "Opinions": ("Opinion",),
}
"""Elements of a sentence that are read, and what they hold."""


def _parse(path: Path, file: IO[bytes], first: int) -> ExampleStream:
    source = _BoundedFile(file)
    root: Any = None
    number, depth = first, 0
    unread: Counter[str] = Counter()
    try:
        for event, element in iterparse(source, events=("start", "end"), forbid_dtd=True):
            if root is None:
                root = element
                if root.tag not in _ROOTS:
                    yield reject_row(
                        path, 0, f"<{root.tag}> is not <sentences>", "", "use another format"
                    )
                    return
            depth += (element.tag == "sentence") * (1 if event == "start" else -1)
            if event == "end" and element.tag == "sentence":
                unread.update(_unread_elements(element))
                yield _example(path, number, element)
                number += 1
                element.clear()
                root.clear()
                source.bytes_since_sentence = 0
            elif event == "start" and depth == 0 and element.tag not in _LAYOUT:
                unread[element.tag] += 1
        _warn_of_elements(path, unread)
    except (Plain.ParseError, DefusedXmlException, ValueError, RecursionError, MemoryError) as e:
        reason = f"reading ends here: {type(e).__name__}: {e}"
        yield reject_row(
            path, number, reason, "", "repair the XML; the rest of the file was not read"
        )


def _unread_elements(sentence: Any) -> Iterator[str]:
    for part in sentence:
        if part.tag not in _SENTENCE_PARTS:
            yield part.tag
        else:
            yield from (e.tag for e in part if e.tag not in _SENTENCE_PARTS[part.tag])


def _warn_of_elements(path: Path, unread: Counter[str]) -> None:
    """Announce the elements that were not read, with their numbers."""
    if unread:
        counts = ", ".join(f"{n} <{tag}>" for tag, n in sorted(unread.items()))
        note = f"{path}: elements that are not read, with the labels in them: {counts}"
        warnings.warn(InputWarning(note, element=unread.total()), stacklevel=2)


def _example(path: Path, number: int, sentence: Any) -> Example | Rejected:
    try:
        text = sentence.findtext("text")
        if text is None:
            raise ValueError("post.text: the sentence has no text")
        terms = [_term(text, t) for t in sentence.iterfind("aspectTerms/aspectTerm")]
        categories = [_category(c) for c in sentence.iterfind("aspectCategories/aspectCategory")]
        opinions = sentence.findall("Opinions/Opinion")
        if opinions:
            targets = [_term(text, o, "target") for o in opinions if _has_target(o)]
            terms += _merge_labels(targets)
            categories += _merge_categories([_category(o) for o in opinions if o.get("category")])
        post_id = sentence.get("id") or f"{path.stem}-{number}"
        post = Post(id=post_id, text=text, aspects=tuple(a for a, _ in terms))
        labels = tuple(
            gold_opinion_from_text(a, label_text)
            for a, label_text in terms
            if label_text is not None
        )
        return Example(post=post, opinions=(*labels, *categories))
    except ValueError as e:
        reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
        raw = Plain.tostring(sentence, encoding="unicode")
        return reject_row(path, number, reason, raw, "correct the offsets and labels")


def _has_target(opinion: Any) -> bool:
    return opinion.get("target", "NULL") not in ("NULL", "")


def _merge_labels(
    terms: list[tuple[Aspect, str | None]],
) -> list[tuple[Aspect, str | None]]:
    """Return each target once; it is listed once for each category, perhaps with other labels."""
    merged: dict[Aspect, str | None] = {}
    for aspect, label in terms:
        merged[aspect] = label if merged.get(aspect, label) == label else "conflict"
    return list(merged.items())


def _merge_categories(opinions: list[Opinion]) -> list[Opinion]:
    merged: dict[Aspect, Opinion] = {}
    for opinion in opinions:
        earlier = merged.setdefault(opinion.aspect, opinion)
        if (earlier.polarity, earlier.raw) != (opinion.polarity, opinion.raw):
            conflict = gold_opinion_from_text(opinion.aspect, "conflict")
            merged[opinion.aspect] = conflict.model_copy(update={"annotator": CATEGORY_ANNOTATOR})
    return list(merged.values())


def _term(text: str, element: Any, name: str = "term") -> tuple[Aspect, str | None]:
    term, begin, end = (element.get(k, "") for k in (name, "from", "to"))
    if not (begin.isascii() and begin.isdigit() and end.isascii() and end.isdigit()):
        raise ValueError(f"post.aspects: from={begin!r} to={end!r} are not offsets")
    if text[int(begin) : int(end)] != term:
        actual = text[int(begin) : int(end)]
        raise ValueError(f"post.aspects: {term!r} is not at {begin}-{end}: the text has {actual!r}")
    return Aspect(term=term, start=int(begin)), element.get("polarity")


def _category(element: Any) -> Opinion:
    aspect = Aspect(term=element.get("category", ""))
    return gold_opinion_from_text(aspect, element.get("polarity", "")).model_copy(
        update={"annotator": CATEGORY_ANNOTATOR}
    )


def _dump(example: Example, number: int) -> list[bytes]:
    post = example.post
    sentence = Plain.Element("sentence", id=post.id)
    Plain.SubElement(sentence, "text").text = post.text
    terms = Plain.SubElement(sentence, "aspectTerms") if post.aspects else None
    labels = {o.aspect: _label_text(example, o) for o in example.opinions_by(GOLD_ANNOTATOR)}
    for aspect in post.aspects:
        if aspect.start is None or terms is None:
            raise unsupported_field_error(
                "semeval_xml", example, "post.aspects", f"{aspect.term!r} has no offset"
            )
        offsets = {"from": str(aspect.start), "to": str(aspect.start + len(aspect.term))}
        label = {"polarity": labels[aspect]} if aspect in labels else {}
        Plain.SubElement(terms, "aspectTerm", {"term": aspect.term, **label, **offsets})
    if category_opinions := example.opinions_by(CATEGORY_ANNOTATOR):
        categories = Plain.SubElement(sentence, "aspectCategories")
        for o in category_opinions:
            attributes = {"category": o.aspect.term, "polarity": _label_text(example, o)}
            Plain.SubElement(categories, "aspectCategory", attributes)
    return [Plain.tostring(sentence, encoding="utf-8", xml_declaration=False) + b"\n"]


def _label_text(example: Example, opinion: Opinion) -> str:
    label_text = opinion.raw if opinion.polarity is None else opinion.polarity.value
    if label_text is None:
        raise unsupported_field_error(
            "semeval_xml", example, "opinions.polarity", "a gold label without a text"
        )
    return label_text
