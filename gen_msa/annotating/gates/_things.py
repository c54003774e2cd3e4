"""The words for things that a picture shows: the 80 classes of COCO, with the commonest synonyms.

The vocabulary of CHAIR (Rohrbach et al., EMNLP 2018, arXiv 1809.02156), without words that mean
something else as often (a watch, a bear, a cup, a book), and with the clothes, places and signs
that captions of news pictures are full of. Each line is one thing; detectors and people call it by
any word of its line. What stands after a bar only shows that the thing is there: said of no picture
in particular (`people love it`), it claims nothing.

    CLAIMS["women"] == CLAIMS["lady"]       # both are people
"""

_THINGS = """
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


def _lines() -> list[str]:
    lines: list[str] = []
    for line in _THINGS.strip("\n").split("\n"):
        if line.startswith(" "):
            lines[-1] += line
        else:
            lines.append(line)
    return lines


def _forms(word: str) -> tuple[str, ...]:
    return word, f"{word}s", f"{word}es"


_LINES = [line.partition("|") for line in _lines()]

CLAIMS = {f: said.split()[0] for said, _, _ in _LINES for w in said.split() for f in _forms(w)}
"""A word that says a thing is there -> the first word of its line."""


def _shows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for said, _, more in _LINES:
        for form in (f for w in f"{said} {more}".split() for f in _forms(w)):
            found.setdefault(form, set()).add(said.split()[0])
    return found


SHOWS = _shows()
"""A word -> the things that are there where it is said of a picture."""
