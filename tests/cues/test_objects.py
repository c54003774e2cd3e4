"""The objects cue (TEMSA): every name that was found, in a fixed order, beside the text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gen_msa.cues.objects import Objects, ObjectsOptions
from gen_msa.errors import UserError
from gen_msa.types import WHOLE_POST, Aspect, Cue, Media, Post

FOUND = [["dog", 0.7], ["person", 0.9], ["dog", 0.7], ["ball", 0.9], ["cup", 0.2]]


def post(path: str = "17.jpg", **meta: Any) -> Post:
    media = (Media(kind="image", path=path),) if path else ()
    aspects = (WHOLE_POST, Aspect(term="walk", start=2))
    return Post(id="p1", text="A walk", media=media, aspects=aspects, meta=meta)


def cue(tmp_path: Path, entries: Any, given: Post | None = None, **options: Any) -> Cue:
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    source = Objects(ObjectsOptions(file=file, **options))
    first, second = source.cues([given or post()])[0]
    assert first == second
    return first


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, "ball, person, dog, dog, cup"),
        ({"policy": "unique"}, "ball, person, dog, cup"),
        ({"policy": "top-k", "k": 2}, "ball, person"),
        ({"policy": "threshold", "least": 0.7}, "ball, person, dog, dog"),
    ],
)
def test_names_come_by_falling_score_then_by_name(
    tmp_path: Path, options: dict[str, Any], names: str
) -> None:
    found = cue(tmp_path, {"17.jpg": FOUND}, **options)
    assert found == Cue(text=names, source="file:objects.json")


def test_all_names_of_the_file_are_in_the_cue(tmp_path: Path) -> None:
    names = [f"thing{i}" for i in range(300)]
    assert cue(tmp_path, {"17.jpg": names}).text.split(", ") == sorted(names)


@pytest.mark.parametrize("key", ["17.jpg", "17", "img/17.png", "p1"])
def test_an_entry_is_found_by_path_by_name_or_by_post(tmp_path: Path, key: str) -> None:
    assert cue(tmp_path, {key: ["dog"]}, post("img/17.jpg")).text == "dog"


def test_pictures_of_the_same_name_in_two_folders_are_not_mixed_up(tmp_path: Path) -> None:
    table = {"a/17.jpg": ["dog"], "b/17.jpg": ["cat"]}
    assert cue(tmp_path, table, post("b/17.jpg")).text == "cat"
    assert cue(tmp_path, table, post("c/17.jpg")) == Cue(
        text="", source="file:objects.json: no entry"
    )


def test_nothing_detected_is_an_empty_cue_and_no_missing_one(tmp_path: Path) -> None:
    assert cue(tmp_path, {"17.jpg": []}) == Cue(text="", source="file:objects.json")


def test_the_text_of_the_post_is_not_touched(tmp_path: Path) -> None:
    given = post()
    before = given.model_dump_json()
    assert "person" in cue(tmp_path, {"17.jpg": FOUND}, given).text
    assert given.model_dump_json() == before


def test_without_a_file_names_come_from_the_posts_own_facts() -> None:
    source = Objects(ObjectsOptions())
    assert source.cues([post(objects=["dog", "ball"])])[0][0] == Cue(
        text="ball, dog", source="meta:objects"
    )
    assert source.cues([post()])[0][0] == Cue(text="", source="meta:objects: no entry")


@pytest.mark.parametrize("entries", [["dog"], {"17.jpg": "dog"}, {"17.jpg": [["dog", "high"]]}])
def test_a_file_of_another_form_is_an_error_that_shows_the_right_one(
    tmp_path: Path, entries: Any
) -> None:
    with pytest.raises(UserError, match="write"):
        cue(tmp_path, entries)


def test_a_file_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "objects.json"
    file.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        Objects(ObjectsOptions(file=file)).cues([post()])


def colours(pictures: Sequence[Image.Image]) -> list[list[tuple[str, float]]]:
    """A tiny detector: names a picture's colour, and something it is unsure of."""
    return [[(f"colour {p.getpixel((0, 0))}", 0.9), ("ghost", 0.1)] for p in pictures]


def test_a_detector_sees_each_picture_of_each_post(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (8, 8), 7).save(tmp_path / "grey.png")
    source = Objects(ObjectsOptions(media_root=tmp_path), detect=colours)
    red, none, grey = source.cues([post("red.png"), post(""), post("grey.png")])
    assert red[0] == Cue(text="colour (255, 0, 0)", source="detector:given")
    assert none[0] == Cue(text="", source="detector:given")
    assert grey[0].text == "colour (7, 7, 7)"


@pytest.mark.parametrize("path", ["gone.jpg", "../out.png", "/etc/passwd", "bad.png", "dot.png"])
def test_a_picture_that_cannot_be_seen_is_said_in_the_source(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "out.png")
    Image.new("RGB", (1, 1)).save(root / "dot.png")
    (root / "bad.png").write_bytes(b"<html>")
    source = Objects(ObjectsOptions(media_root=root), detect=colours)
    found = source.cues([post(path)])[0][0]
    assert found.text == ""
    assert found.source.startswith("detector:given: picture ")


def test_a_detector_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    options = ObjectsOptions(model=str(tmp_path / "no-model"), media_root=tmp_path)
    with pytest.raises(UserError, match="no-model"):
        Objects(options).cues([post("a.png")])


def test_a_file_and_a_model_together_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not both"):
        Objects(ObjectsOptions(file=tmp_path / "x.json", model="m"))


def test_the_fingerprint_follows_the_bytes_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "objects.json"
    prints = []
    for text in ("{}", '{"a": []}', "{}"):
        file.write_text(text, encoding="utf-8")
        prints.append(Objects(ObjectsOptions(file=file)).fingerprint())
    assert prints[0] == prints[2] != prints[1]
