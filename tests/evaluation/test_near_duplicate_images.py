"""Images that were saved again are found; different ones on the same white background are not."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from gen_msa.evaluation.near_duplicates import ImageFingerprint, fingerprint_image, nearest_images
from gen_msa.types import Media


def scene(seed: int, size: int = 160) -> Image.Image:
    """Draw coloured blocks, different ones for each seed."""
    import random

    rng = random.Random(seed)
    image = Image.new("RGB", (size, size), tuple(rng.choices(range(256), k=3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.randrange(size), rng.randrange(size)
        box = (x, y, x + rng.randrange(20, 90), y + rng.randrange(20, 90))
        draw.rectangle(box, fill=tuple(rng.choices(range(256), k=3)))
    return image


def save_and_fingerprint(
    image: Image.Image, path: Path, **save_options: object
) -> ImageFingerprint:
    image.save(path, **save_options)
    return fingerprint_image(Media(kind="image", path=path.name), path.parent)


@pytest.mark.parametrize(
    ("name", "scale", "save_options"),
    [
        ("half.jpg", 0.5, {"quality": 40}),
        ("double.png", 2.0, {}),
        ("same.webp", 1.0, {"quality": 50}),
    ],
)
def test_nearest_images_finds_a_resaved_image(tmp_path, name, scale, save_options) -> None:
    train = [save_and_fingerprint(scene(i), tmp_path / f"{i}.png") for i in range(20)]
    image = scene(7)
    side = int(image.width * scale)
    resaved = save_and_fingerprint(image.resize((side, side)), tmp_path / name, **save_options)
    [(later_index, earlier_index, bits)] = nearest_images(train, [resaved], 8)
    assert (later_index, earlier_index) == (0, 7)
    assert bits <= 8
    assert resaved.sha256 != train[7].sha256


def test_nearest_images_skips_identical_bytes(tmp_path) -> None:
    first = save_and_fingerprint(scene(1), tmp_path / "a.png")
    second = save_and_fingerprint(scene(1), tmp_path / "b.png")
    assert first.sha256 == second.sha256
    assert nearest_images([first], [second], 8) == []


def test_nearest_images_separates_objects_on_white(tmp_path) -> None:
    def draw_box(colour: str) -> Image.Image:
        image = Image.new("RGB", (160, 160), "white")
        ImageDraw.Draw(image).rectangle((60, 40, 100, 120), fill=colour)
        return image

    dark = save_and_fingerprint(draw_box("navy"), tmp_path / "dark.png")
    red = save_and_fingerprint(draw_box("orange"), tmp_path / "red.png")
    assert (dark.dhash ^ red.dhash).bit_count() <= 8
    assert nearest_images([dark], [red], 8) == []


def test_plain_image_has_no_dhash(tmp_path) -> None:
    plain = save_and_fingerprint(Image.new("RGB", (64, 64), "grey"), tmp_path / "plain.png")
    assert plain.sha256
    assert plain.dhash is None


def test_fingerprint_without_bytes_has_only_a_name(tmp_path) -> None:
    missing = fingerprint_image(Media(kind="image", path="./Photos/17_06_1.JPG"), tmp_path)
    assert missing == ImageFingerprint("", "photos/17_06_1.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    broken = fingerprint_image(Media(kind="image", path="broken.jpg"), tmp_path)
    assert broken.sha256
    assert broken.dhash is None


def test_fingerprint_can_skip_dhash(tmp_path) -> None:
    scene(3).save(tmp_path / "a.png")
    fingerprint = fingerprint_image(Media(kind="image", path="a.png"), tmp_path, with_hash=False)
    assert fingerprint.sha256
    assert fingerprint.dhash is None
