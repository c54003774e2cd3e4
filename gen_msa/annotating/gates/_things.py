"""The words for things that a picture shows: the 80 classes of COCO, with the commonest synonyms.

The vocabulary of CHAIR (Rohrbach et al., EMNLP 2018, arXiv 1809.02156), without words that mean
something else as often (a watch, a bear, a cup, a book), and with the clothes, places and signs
that captions of news pictures are full of. Each line is one thing; detectors and people call it by
any word of its line. What stands after a bar only shows that the thing is there: said of no picture
in particular (`people love it`), it claims nothing.

    CLAIMS["women"] == CLAIMS["lady"]       # both are people
"""

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

OBJECT_OF_WORD = {f: said.split()[0] for said, _, _ in _OBJECT_LINES for w in said.split() for f in _word_forms(w)}
"""A word that says a thing is there -> the first word of its line."""


def _index_objects() -> dict[str, set[str]]:
    index: dict[str, set[str]] = {}
    for object_words, _, weak_words in _OBJECT_LINES:
        for form in (f for w in f"{object_words} {weak_words}".split() for f in _word_forms(w)):
            index.setdefault(form, set()).add(object_words.split()[0])
    return index


OBJECTS_OF_WORD = _index_objects()
"""A word -> the things that are there where it is said of a picture."""
