"""Test the context cue: captions, descriptions and OCR, without explanations or labels."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gen_msa.cues.context import ContextCues, ContextOptions
from gen_msa.errors import UserError
from gen_msa.types import OVERALL_ASPECT, Aspect, Cue, Media, Post

TEXT = "Soup at Ada 's and more soup"
ASPECTS = (Aspect(term="Soup", start=0), Aspect(term="soup", start=24), Aspect(term="Ada", start=8))


def make_post(path: str = "17.jpg", **meta: Any) -> Post:
    media = (Media(kind="image", path=path),)
    return Post(id="p1", text=TEXT, media=media, aspects=ASPECTS, meta=meta)


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def context_cues(post: Post, **options: Any) -> tuple[Cue, ...]:
    return ContextCues(ContextOptions.model_validate(options)).cues([post])[0]


def rationale_row(text: str, target: str, description: str) -> dict[str, str]:
    return {
        "text": text, "target": target, "ImageID": "17", "gt_label": "1",
        "description": description, "reason": "Sentiment: Positive SECRET",
    }  # fmt: skip


def test_every_aspect_gets_image_caption(tmp_path: Path) -> None:
    file = write_json(tmp_path / "captions.json", {"17.jpg": "A bowl on a table. "})
    assert context_cues(make_post(), files=[file]) == (
        Cue(text="picture: A bowl on a table.", source="file:captions.json"),
    ) * len(ASPECTS)


def test_several_files_are_joined_in_order_with_their_prefixes(tmp_path: Path) -> None:
    captions = write_json(tmp_path / "captions.json", {"17.jpg": "A bowl."})
    faces = write_json(tmp_path / "faces.json", {"17.jpg": "One person, happy.", "18.jpg": "None."})
    files = [captions, {"path": faces, "prefix": "faces"}]
    assert context_cues(make_post(), files=files)[0] == Cue(
        text="picture: A bowl. faces: One person, happy.",
        source="file:captions.json+file:faces.json",
    )
    assert context_cues(make_post("18.jpg"), files=files)[0] == Cue(
        text="faces: None.", source="file:faces.json"
    )


def test_missing_context_is_empty_and_source_names_the_lookup(tmp_path: Path) -> None:
    file = write_json(tmp_path / "captions.json", {})
    assert context_cues(make_post(), files=[file])[0] == Cue(
        text="", source="file:captions.json+meta:caption: no entry"
    )


def test_caption_in_post_meta_is_used() -> None:
    assert context_cues(make_post(caption="A bowl."))[0] == Cue(
        text="caption: A bowl.", source="meta:caption"
    )
    assert context_cues(make_post(caption=["not", "text"]))[0].text == ""


def test_description_is_matched_by_aspect_offset(tmp_path: Path) -> None:
    rows = [
        rationale_row("$T$ at  Ada 's and more soup\n", "Soup", "first"),
        rationale_row("Soup at Ada 's and more $T$", "soup", "second"),
    ]
    file = write_json(tmp_path / "rationales.json", rows)
    post_cues = context_cues(make_post("img/17.jpg"), files=[{"path": file, "prefix": ""}])
    assert [c.text for c in post_cues] == ["first", "second", ""]
    assert post_cues[2].source.endswith("no entry")
    assert [c.text for c in context_cues(make_post("18.jpg"), files=[file])] == ["", "", ""]


def test_rationale_explanation_and_label_are_never_used(tmp_path: Path) -> None:
    rows = [rationale_row("$T$ at Ada 's and more soup", "Soup", "A bowl.")]
    post_cues = context_cues(make_post(), files=[write_json(tmp_path / "r.json", rows)])
    assert post_cues[0].text == "picture: A bowl."
    assert not any("SECRET" in c.text or "ositive" in c.text for c in post_cues)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"17.jpg": 3}, "not a string"),
        ("words", "is not a mapping"),
        ([{"text": "x"}], "not a rationale"),
    ],
)
def test_file_of_wrong_shape_raises(tmp_path: Path, value: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        context_cues(make_post(), files=[write_json(tmp_path / "x.json", value)])


def test_long_text_is_truncated_with_ellipsis(tmp_path: Path) -> None:
    file = write_json(tmp_path / "c.json", {"17.jpg": "word " * 500})
    text = context_cues(make_post(), files=[{"path": file, "prefix": ""}], max_words=10)[0].text
    assert text == " ".join(["word"] * 10) + " ..."


def test_ocr_reads_text_in_image_when_enabled(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "17.png")
    options = ContextOptions(ocr=True, media_root=tmp_path)
    source = ContextCues(options, ocr=lambda picture: f"SALE {picture.size[0]}")
    assert source.cues([make_post("17.png")])[0][0] == Cue(
        text="written in the picture: SALE 8", source="ocr"
    )
    missing = source.cues([make_post("18.png")])[0][0]
    assert missing == Cue(text="", source="meta:caption+ocr: image missing: no entry")


@pytest.mark.models
def test_rapidocr_reads_large_letters(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    from PIL import ImageDraw, ImageFont

    image = Image.new("RGB", (400, 120), "white")
    ImageDraw.Draw(image).text((20, 20), "SALE 50", fill="black", font=ImageFont.load_default(64))
    image.save(tmp_path / "17.png")
    post_cues = context_cues(make_post("17.png"), ocr=True, media_root=tmp_path)[0]
    assert "SALE" in post_cues.text
    assert post_cues.source == "ocr"


def test_fingerprint_depends_on_files_and_options(tmp_path: Path) -> None:
    file = write_json(tmp_path / "c.json", {"17.jpg": "A bowl."})
    before = ContextCues(ContextOptions(files=(file,))).fingerprint()
    assert before == ContextCues(ContextOptions(files=(file,))).fingerprint()
    assert before != ContextCues(ContextOptions(files=(file,), max_words=5)).fingerprint()
    write_json(file, {"17.jpg": "A dish."})
    assert before != ContextCues(ContextOptions(files=(file,))).fingerprint()


def test_overall_aspect_gets_caption() -> None:
    overall_post = make_post(caption="A bowl.").model_copy(update={"aspects": (OVERALL_ASPECT,)})
    assert context_cues(overall_post) == (Cue(text="caption: A bowl.", source="meta:caption"),)


def test_path_expands_variables_and_pattern_selects_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptions = {
        "17.jpg": "There are 2 people. Ada with a happy expression. a person with a sad one."
    }
    write_json(tmp_path / "faces.json", descriptions)
    monkeypatch.setenv("FACES", str(tmp_path))
    file = {"path": "$FACES/faces.json", "prefix": "", "pattern": r"\w+ with a \w+ expression"}
    assert context_cues(make_post(), files=[file])[0].text == "Ada with a happy expression"
    assert context_cues(make_post(), files=[{**file, "pattern": "nobody"}])[0].text == ""
    with pytest.raises(ValueError, match="not a regular expression"):
        ContextOptions.model_validate({"files": [{**file, "pattern": "("}]})
