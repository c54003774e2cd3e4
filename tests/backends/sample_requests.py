"""Requests of our own words for the tests of backends that run a model."""

import numpy as np
from PIL import Image

from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn

SLOT = ChoiceSlot(
    prefix="Sentiment:", options=(" positive", " negative", " neutral"), suffix="\nReason:"
)
POSTS = [
    "the battery is awful but the screen is great",
    "service slow, food cold",
    "a",
    "@maria sold the #laptop and the food was cold, isn't it? the screen is fine 😀",
    "the waiter said the food is fine",
]
ASPECTS = ["battery", "the screen", "service", "food"]


def load_noise_image(image):
    """An image of noise, the same for the same hash; sizes differ."""
    rng = np.random.default_rng(int(image.sha256))
    size = (30 + 10 * (int(image.sha256) % 3), 50, 3)
    return Image.fromarray((rng.random(size) * 255).astype("uint8"))


def image_input(number):
    return ImageInput(path=f"/pictures/{number}.png", sha256=str(number), max_pixels=10_000)


def build_request(post, aspect="food", *, image_number=None, system=True, slot=SLOT, new=10):
    """One question about one aspect of a post, shaped as the shipped prompts are."""
    system_turn = Turn(
        role="system", parts=(TextInput(text="You are a careful reader: sentiment, reason."),)
    )
    parts = [TextInput(text="Read this post.\n"), TextInput(text=post, untrusted=True)]
    if image_number is not None:
        parts.insert(0, image_input(image_number))
    parts.append(TextInput(text=f"\nWhat does the post say about {aspect}?"))
    turns = (system_turn, Turn(role="user", parts=tuple(parts)))
    chat = Chat(turns=turns if system else turns[1:])
    return Request(chat=chat, max_new_tokens=new, choice=slot)


def build_requests(*, with_images=False, **options):
    """Several posts with one to four aspects each; every other post has an image, if asked for."""
    return [
        build_request(post, aspect, image_number=i if with_images and i % 2 else None, **options)
        for i, post in enumerate(POSTS)
        for aspect in ASPECTS[: 1 + i % 4]
    ]
