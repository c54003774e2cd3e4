"""Objects that the explanation names are in the image or the post.

An object is named where a content word of the explanation (a claim of the metric `grounding`) is in
the list of objects below. It is supported where the text, or a detector or caption of the image,
names the same object by any word. An image without a description supports nothing. Similar to CHAIR
(Rohrbach et al. 2018). English; other objects, colours and positions are not checked.

    filters={objects: {sources: {context: {files: [captions.json]}}}}
    filters={objects: {sources: {objects: {file: detections.json}}, max_unsupported: 1}}
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters._pairs import as_metric_pair, build_cue_sources, image_descriptions
from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics.explanation_text import split_words
from gen_msa.metrics.grounding import extract_claims
from gen_msa.settings import Settings

# Words for objects: the 80 classes of COCO with common synonyms. A word left of "|" claims the
# object; a word to its right confirms it when a description uses it, but is too ambiguous to claim
# it.

_OBJECT_WORDS = """
person man men woman women boy girl child children kid guy lady ladies gentleman gentlemen baby
    babies toddler
    | people crowd audience singer player performer athlete fan team group couple
bicycle cyclist | bike
car automobile suv sedan taxi | cab vehicle traffic
motorcycle motorbike scooter
airplane aircraft airliner | plane jet
bus | buses
locomotive | train
truck van pickup | vehicle
boat canoe kayak ferry yacht | ship
bench
bird pigeon owl eagle parrot
cat kitten
dog puppy puppies
horse pony ponies
sheep lamb
cow cattle
elephant
panda
zebra
giraffe
backpack rucksack
umbrella
handbag
necktie | tie suit
suitcase luggage
frisbee
snowboard snowboarder
skateboard skateboarder
surfboard surfer
bottle
mug
fork
banana
sandwich hamburger | burger
pizza
cake cupcake | pastry pastries
donut doughnut
chair
couch sofa
bed
desk | table
toilet
television tv | screen monitor
laptop
cellphone smartphone | phone
refrigerator fridge
vase
scissors
toothbrush
guitar
microphone | mic podium
hat | cap
shirt jersey | uniform
jacket coat | suit
gown skirt | dress
sunglasses | glasses
flag
trophy trophies
tree | forest
flower rose
mountain | hill
beach
building | house skyscraper tower
bridge
"""


def _split_lines() -> list[str]:
    lines: list[str] = []
    for line in _OBJECT_WORDS.strip("\n").split("\n"):
        if line.startswith(" "):
            lines[-1] += line
        else:
            lines.append(line)
    return lines


def _word_forms(word: str) -> tuple[str, ...]:
    return word, f"{word}s", f"{word}es"


_OBJECT_LINES = [line.partition("|") for line in _split_lines()]

OBJECT_OF_WORD = {
    form: claiming.split()[0]
    for claiming, _, _ in _OBJECT_LINES
    for word in claiming.split()
    for form in _word_forms(word)
}
"""A word that claims an object -> the first word of its line."""


def _index_objects() -> dict[str, set[str]]:
    index: dict[str, set[str]] = {}
    for object_words, _, weak_words in _OBJECT_LINES:
        for form in (f for w in f"{object_words} {weak_words}".split() for f in _word_forms(w)):
            index.setdefault(form, set()).add(object_words.split()[0])
    return index


OBJECTS_OF_WORD = _index_objects()
"""A word -> the objects that it confirms when it is used about an image."""


_SOURCES: dict[str, dict[str, Any]] = {"objects": {}, "context": {}}


class ObjectsFilterOptions(Settings):
    """What describes the images, and how many other objects may be named."""

    sources: dict[str, dict[str, Any]] = Field(default_factory=lambda: dict(_SOURCES))
    """Cue sources (`objects`, `context`) with their options."""
    max_unsupported: int = Field(default=0, ge=0)
    """Number of unsupported objects that may be named."""


@filters.register
class ObjectsFilter:
    """Compares the objects of an explanation with those of cues."""

    Options: ClassVar[type[Settings]] = ObjectsFilterOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: ObjectsFilterOptions, context: FilterContext) -> None:
        self._max_unsupported = options.max_unsupported
        self._sources = build_cue_sources("objects", options.sources, context)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation that names more than `max_unsupported` unsupported objects."""
        image_texts = image_descriptions(self._sources, rows)
        return [
            self._verdict(row, image_text)
            for row, image_text in zip(rows, image_texts, strict=True)
        ]

    def fingerprint(self) -> JsonValue:
        """Return the fingerprints of the sources, including the bytes of their files."""
        return [source.fingerprint() for source in self._sources]

    def _verdict(self, row: Candidate, image_text: str) -> str | None:
        if not row.explanation:
            return NO_EXPLANATION
        present = _named_objects(f"{row.post.text}\n{image_text}")
        all_claims = extract_claims(as_metric_pair(row, {"context": image_text}))
        named_words = [
            w for c in all_claims if not c.in_text and not c.in_image for w in split_words(c.text)
        ]
        absent = dict.fromkeys(
            w for w in named_words if w in OBJECT_OF_WORD and OBJECT_OF_WORD[w] not in present
        )
        if len(absent) <= self._max_unsupported:
            return None
        return f"not in post or image: {', '.join(absent)}"


def _named_objects(text: str) -> set[str]:
    return set().union(*(OBJECTS_OF_WORD.get(w, set()) for w in split_words(text)))
