"""Pictures that were saved again are found; different ones on the same white are not."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from gen_msa.evaluating.twins.pictures import Print, nearest, print_of
from gen_msa.types import Media


def scene(seed: int, size: int = 160) -> Image.Image:
    """Coloured blocks, other ones for each seed."""
    import random

    rng = random.Random(seed)
    image = Image.new("RGB", (size, size), tuple(rng.choices(range(256), k=3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.randrange(size), rng.randrange(size)
        box = (x, y, x + rng.randrange(20, 90), y + rng.randrange(20, 90))
        draw.rectangle(box, fill=tuple(rng.choices(range(256), k=3)))
    return image


def known(image: Image.Image, path: Path, **how: object) -> Print:
    image.save(path, **how)
    return print_of(Media(kind="image", path=path.name), path.parent)


@pytest.mark.parametrize(
    ("name", "scale", "how"),
    [
        ("half.jpg", 0.5, {"quality": 40}),
        ("double.png", 2.0, {}),
        ("same.webp", 1.0, {"quality": 50}),
    ],
)
def test_a_picture_saved_again_is_found_among_others(tmp_path, name, scale, how) -> None:
    train = [known(scene(i), tmp_path / f"{i}.png") for i in range(20)]
    image = scene(7)
    side = int(image.width * scale)
    again = known(image.resize((side, side)), tmp_path / name, **how)
    [(right, left, bits)] = nearest(train, [again], 8)
    assert (right, left) == (0, 7)
    assert bits <= 8
    assert again.sha256 != train[7].sha256


def test_equal_bytes_are_left_to_the_hash(tmp_path) -> None:
    one = known(scene(1), tmp_path / "a.png")
    other = known(scene(1), tmp_path / "b.png")
    assert one.sha256 == other.sha256
    assert nearest([one], [other], 8) == []


def test_two_things_on_white_are_not_one_picture(tmp_path) -> None:
    def thing(colour: str) -> Image.Image:
        image = Image.new("RGB", (160, 160), "white")
        ImageDraw.Draw(image).rectangle((60, 40, 100, 120), fill=colour)
        return image

    dark = known(thing("navy"), tmp_path / "dark.png")
    red = known(thing("orange"), tmp_path / "red.png")
    assert (dark.look ^ red.look).bit_count() <= 8
    assert nearest([dark], [red], 8) == []


def test_a_plain_picture_has_no_look(tmp_path) -> None:
    plain = known(Image.new("RGB", (64, 64), "grey"), tmp_path / "plain.png")
    assert plain.sha256
    assert plain.look is None


def test_without_bytes_there_is_a_name_only(tmp_path) -> None:
    gone = print_of(Media(kind="image", path="./Photos/17_06_1.JPG"), tmp_path)
    assert gone == Print("", "photos/17_06_1.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    broken = print_of(Media(kind="image", path="broken.jpg"), tmp_path)
    assert broken.sha256
    assert broken.look is None


def test_looks_can_be_left_out(tmp_path) -> None:
    scene(3).save(tmp_path / "a.png")
    found = print_of(Media(kind="image", path="a.png"), tmp_path, look=False)
    assert found.sha256
    assert found.look is None
