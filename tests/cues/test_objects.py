"""Test the objects cue (TEMSA): every detected name, in a fixed order."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gen_msa.cues.objects import ObjectCueOptions, ObjectCues
from gen_msa.errors import UserError
from gen_msa.types import OVERALL_ASPECT, Aspect, Cue, Media, Post

DETECTIONS = [["dog", 0.7], ["person", 0.9], ["dog", 0.7], ["ball", 0.9], ["cup", 0.2]]


def make_post(path: str = "17.jpg", **meta: Any) -> Post:
    media = (Media(kind="image", path=path),) if path else ()
    aspects = (OVERALL_ASPECT, Aspect(term="walk", start=2))
    return Post(id="p1", text="A walk", media=media, aspects=aspects, meta=meta)


def object_cue(tmp_path: Path, entries: Any, input_post: Post | None = None, **options: Any) -> Cue:
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    source = ObjectCues(ObjectCueOptions(file=file, **options))
    first, second = source.cues([input_post or make_post()])[0]
    assert first == second
    return first


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, "ball, person, dog, dog, cup"),
        ({"policy": "unique"}, "ball, person, dog, cup"),
        ({"policy": "top-k", "k": 2}, "ball, person"),
        ({"policy": "threshold", "min_score": 0.7}, "ball, person, dog, dog"),
    ],
)
def test_names_are_sorted_by_score_then_name(
    tmp_path: Path, options: dict[str, Any], names: str
) -> None:
    result = object_cue(tmp_path, {"17.jpg": DETECTIONS}, **options)
    assert result == Cue(text=names, source="file:objects.json")


def test_all_names_in_file_are_in_cue(tmp_path: Path) -> None:
    names = [f"thing{i}" for i in range(300)]
    assert object_cue(tmp_path, {"17.jpg": names}).text.split(", ") == sorted(names)


@pytest.mark.parametrize("key", ["17.jpg", "17", "img/17.png", "p1"])
def test_entry_is_found_by_path_stem_or_post_id(tmp_path: Path, key: str) -> None:
    assert object_cue(tmp_path, {key: ["dog"]}, make_post("img/17.jpg")).text == "dog"


def test_same_image_name_in_two_folders_is_distinguished(tmp_path: Path) -> None:
    table = {"a/17.jpg": ["dog"], "b/17.jpg": ["cat"]}
    assert object_cue(tmp_path, table, make_post("b/17.jpg")).text == "cat"
    assert object_cue(tmp_path, table, make_post("c/17.jpg")) == Cue(
        text="", source="file:objects.json: no entry"
    )


def test_no_detections_is_empty_cue_without_missing_note(tmp_path: Path) -> None:
    assert object_cue(tmp_path, {"17.jpg": []}) == Cue(text="", source="file:objects.json")


def test_post_is_not_modified(tmp_path: Path) -> None:
    input_post = make_post()
    before = input_post.model_dump_json()
    assert "person" in object_cue(tmp_path, {"17.jpg": DETECTIONS}, input_post).text
    assert input_post.model_dump_json() == before


def test_objects_in_post_meta_are_used_without_file() -> None:
    source = ObjectCues(ObjectCueOptions())
    assert source.cues([make_post(objects=["dog", "ball"])])[0][0] == Cue(
        text="ball, dog", source="meta:objects"
    )
    assert source.cues([make_post()])[0][0] == Cue(text="", source="meta:objects: no entry")


@pytest.mark.parametrize("entries", [["dog"], {"17.jpg": "dog"}, {"17.jpg": [["dog", "high"]]}])
def test_file_of_wrong_shape_raises_with_example(tmp_path: Path, entries: Any) -> None:
    with pytest.raises(UserError, match="write"):
        object_cue(tmp_path, entries)


def test_invalid_json_raises(tmp_path: Path) -> None:
    file = tmp_path / "objects.json"
    file.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        ObjectCues(ObjectCueOptions(file=file)).cues([make_post()])


def detect_colours(images: Sequence[Image.Image]) -> list[list[tuple[str, float]]]:
    """Detect an image's colour, and something with a low score."""
    return [[(f"colour {p.getpixel((0, 0))}", 0.9), ("ghost", 0.1)] for p in images]


def test_detector_gets_every_image(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (8, 8), 7).save(tmp_path / "grey.png")
    source = ObjectCues(ObjectCueOptions(media_root=tmp_path), detector=detect_colours)
    red, without_image, grey = source.cues(
        [make_post("red.png"), make_post(""), make_post("grey.png")]
    )
    assert red[0] == Cue(text="colour (255, 0, 0)", source="detector:injected")
    assert without_image[0] == Cue(text="", source="detector:injected")
    assert grey[0].text == "colour (7, 7, 7)"


@pytest.mark.parametrize("path", ["gone.jpg", "../out.png", "/etc/passwd", "bad.png", "dot.png"])
def test_unreadable_image_is_noted_in_source(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "out.png")
    Image.new("RGB", (1, 1)).save(root / "dot.png")
    (root / "bad.png").write_bytes(b"<html>")
    source = ObjectCues(ObjectCueOptions(media_root=root), detector=detect_colours)
    result = source.cues([make_post(path)])[0][0]
    assert result.text == ""
    assert result.source.startswith("detector:injected: image ")


def test_missing_detector_raises_with_its_name(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    options = ObjectCueOptions(model=str(tmp_path / "no-model"), media_root=tmp_path)
    with pytest.raises(UserError, match="no-model"):
        ObjectCues(options).cues([make_post("a.png")])


def test_file_and_model_together_raise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not both"):
        ObjectCues(ObjectCueOptions(file=tmp_path / "x.json", model="m"))


def test_fingerprint_depends_on_file_content(tmp_path: Path) -> None:
    file = tmp_path / "objects.json"
    fingerprints = []
    for text in ("{}", '{"a": []}', "{}"):
        file.write_text(text, encoding="utf-8")
        fingerprints.append(ObjectCues(ObjectCueOptions(file=file)).fingerprint())
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
