"""Pictures made on the spot, in memory."""

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
    """make("PNG", size=(64, 48), mode="RGB", **save options): noisy, so that cutting it hurts."""

    def _make(format: str = "PNG", size=(64, 48), mode: str = "RGB", **options) -> bytes:
        noise = Image.effect_noise(size, 80).convert("RGB")
        return encode(noise.convert(mode), format, **options)

    return _make
