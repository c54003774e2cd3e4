"""Requests of our own words for the tests of backends that run a model."""

import numpy as np
from PIL import Image

from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn

SLOT = Choice(lead="Sentiment:", options=(" positive", " negative", " neutral"), then="\nReason:")
POSTS = [
    "the battery is awful but the screen is great",
    "service slow, food cold",
    "a",
    "@maria sold the #laptop and the food was cold, isn't it? the screen is fine 😀",
    "the waiter said the food is fine",
]
ASPECTS = ["battery", "the screen", "service", "food"]


def look(picture):
    """A picture of noise, the same for the same hash; sizes differ."""
    rng = np.random.default_rng(int(picture.sha256))
    size = (30 + 10 * (int(picture.sha256) % 3), 50, 3)
    return Image.fromarray((rng.random(size) * 255).astype("uint8"))


def picture(number):
    return Picture(path=f"/pictures/{number}.png", sha256=str(number), max_pixels=10_000)


def ask(post, aspect="food", *, seen=None, system=True, slot=SLOT, new=10):
    """One question about one aspect of a post, shaped as the shipped prompts are."""
    head = Turn(role="system", parts=(Text(text="You are a careful reader: sentiment, reason."),))
    parts = [Text(text="Read this post.\n"), Text(text=post, untrusted=True)]
    if seen is not None:
        parts.insert(0, picture(seen))
    parts.append(Text(text=f"\nWhat does the post say about {aspect}?"))
    turns = (head, Turn(role="user", parts=tuple(parts)))
    chat = Chat(turns=turns if system else turns[1:])
    return Request(chat=chat, max_new_tokens=new, choice=slot)


def asked(*, pictures=False, **more):
    """Several posts with one to four aspects each; every other post has a picture, if asked for."""
    return [
        ask(post, aspect, seen=i if pictures and i % 2 else None, **more)
        for i, post in enumerate(POSTS)
        for aspect in ASPECTS[: 1 + i % 4]
    ]
