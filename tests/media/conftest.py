"""Images encoded in memory."""

import io
from collections.abc import Callable

import pytest
from PIL import Image

Make = Callable[..., bytes]


def encode(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.fixture
def make() -> Make:
    """Return make("PNG", size=(64, 48), mode="RGB", **save options), which encodes noise.

    Noise does not compress, so a truncated file is always damaged.
    """

    def _make(format: str = "PNG", size=(64, 48), mode: str = "RGB", **options) -> bytes:
        noise = Image.effect_noise(size, 80).convert("RGB")
        return encode(noise.convert(mode), format, **options)

    return _make
