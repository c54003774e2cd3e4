"""The context cue: captions, descriptions and writing, and never a reason or a label."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gen_msa.cues.context import Context, ContextOptions
from gen_msa.errors import UserError
from gen_msa.types import WHOLE_POST, Aspect, Cue, Media, Post

TEXT = "Soup at Ada 's and more soup"
ASPECTS = (Aspect(term="Soup", start=0), Aspect(term="soup", start=24), Aspect(term="Ada", start=8))


def post(path: str = "17.jpg", **meta: Any) -> Post:
    media = (Media(kind="image", path=path),)
    return Post(id="p1", text=TEXT, media=media, aspects=ASPECTS, meta=meta)


def saved(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def cues(given: Post, **options: Any) -> tuple[Cue, ...]:
    return Context(ContextOptions.model_validate(options)).cues([given])[0]


def rationale(text: str, target: str, said: str) -> dict[str, str]:
    return {
        "text": text, "target": target, "ImageID": "17", "gt_label": "1",
        "description": said, "reason": "Sentiment: Positive SECRET",
    }  # fmt: skip


def test_every_aspect_gets_the_caption_of_the_picture(tmp_path: Path) -> None:
    file = saved(tmp_path / "captions.json", {"17.jpg": "A bowl on a table. "})
    assert cues(post(), files=[file]) == (
        Cue(text="picture: A bowl on a table.", source="file:captions.json"),
    ) * len(ASPECTS)


def test_several_files_are_joined_in_order_each_after_its_lead_word(tmp_path: Path) -> None:
    captions = saved(tmp_path / "captions.json", {"17.jpg": "A bowl."})
    faces = saved(tmp_path / "faces.json", {"17.jpg": "One person, happy.", "18.jpg": "None."})
    files = [captions, {"path": faces, "lead": "faces"}]
    assert cues(post(), files=files)[0] == Cue(
        text="picture: A bowl. faces: One person, happy.",
        source="file:captions.json+file:faces.json",
    )
    assert cues(post("18.jpg"), files=files)[0] == Cue(
        text="faces: None.", source="file:faces.json"
    )


def test_a_missing_context_is_empty_and_says_where_it_was_looked_for(tmp_path: Path) -> None:
    file = saved(tmp_path / "captions.json", {})
    assert cues(post(), files=[file])[0] == Cue(
        text="", source="file:captions.json+meta:caption: no entry"
    )


def test_the_posts_own_caption_is_used() -> None:
    assert cues(post(caption="A bowl."))[0] == Cue(text="caption: A bowl.", source="meta:caption")
    assert cues(post(caption=["not", "text"]))[0].text == ""


def test_a_description_is_joined_by_the_place_of_the_aspect(tmp_path: Path) -> None:
    rows = [
        rationale("$T$ at  Ada 's and more soup\n", "Soup", "first"),
        rationale("Soup at Ada 's and more $T$", "soup", "second"),
    ]
    file = saved(tmp_path / "rationales.json", rows)
    found = cues(post("img/17.jpg"), files=[{"path": file, "lead": ""}])
    assert [c.text for c in found] == ["first", "second", ""]
    assert found[2].source.endswith("no entry")
    assert [c.text for c in cues(post("18.jpg"), files=[file])] == ["", "", ""]


def test_reason_and_label_of_a_rationale_are_never_read(tmp_path: Path) -> None:
    rows = [rationale("$T$ at Ada 's and more soup", "Soup", "A bowl.")]
    found = cues(post(), files=[saved(tmp_path / "r.json", rows)])
    assert found[0].text == "picture: A bowl."
    assert not any("SECRET" in c.text or "ositive" in c.text for c in found)


@pytest.mark.parametrize(
    ("value", "problem"),
    [({"17.jpg": 3}, "not a string"), ("words", "holds no map"), ([{"text": "x"}], "no rationale")],
)
def test_a_file_of_another_form_is_an_error_that_says_which(
    tmp_path: Path, value: Any, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        cues(post(), files=[saved(tmp_path / "x.json", value)])


def test_a_long_text_is_cut_and_the_cut_is_shown(tmp_path: Path) -> None:
    file = saved(tmp_path / "c.json", {"17.jpg": "word " * 500})
    text = cues(post(), files=[{"path": file, "lead": ""}], max_words=10)[0].text
    assert text == " ".join(["word"] * 10) + " ..."


def test_writing_in_the_picture_is_read_when_asked(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "17.png")
    options = ContextOptions(ocr=True, media_root=tmp_path)
    source = Context(options, scan=lambda picture: f"SALE {picture.size[0]}")
    assert source.cues([post("17.png")])[0][0] == Cue(
        text="written in the picture: SALE 8", source="ocr"
    )
    missing = source.cues([post("18.png")])[0][0]
    assert missing == Cue(text="", source="meta:caption+ocr: picture missing: no entry")


@pytest.mark.models
def test_rapidocr_reads_large_letters(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    from PIL import ImageDraw, ImageFont

    picture = Image.new("RGB", (400, 120), "white")
    ImageDraw.Draw(picture).text((20, 20), "SALE 50", fill="black", font=ImageFont.load_default(64))
    picture.save(tmp_path / "17.png")
    found = cues(post("17.png"), ocr=True, media_root=tmp_path)[0]
    assert "SALE" in found.text
    assert found.source == "ocr"


def test_the_fingerprint_follows_files_and_options(tmp_path: Path) -> None:
    file = saved(tmp_path / "c.json", {"17.jpg": "A bowl."})
    before = Context(ContextOptions(files=(file,))).fingerprint()
    assert before == Context(ContextOptions(files=(file,))).fingerprint()
    assert before != Context(ContextOptions(files=(file,), max_words=5)).fingerprint()
    saved(file, {"17.jpg": "A dish."})
    assert before != Context(ContextOptions(files=(file,))).fingerprint()


def test_the_post_as_a_whole_gets_the_caption_too() -> None:
    whole = post(caption="A bowl.").model_copy(update={"aspects": (WHOLE_POST,)})
    assert cues(whole) == (Cue(text="caption: A bowl.", source="meta:caption"),)


def test_a_path_may_name_variables_and_a_file_may_be_read_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"17.jpg": "There are 2 people. Ada with a happy expression. a person with a sad one."}
    saved(tmp_path / "faces.json", said)
    monkeypatch.setenv("FACES", str(tmp_path))
    file = {"path": "$FACES/faces.json", "lead": "", "only": r"\w+ with a \w+ expression"}
    assert cues(post(), files=[file])[0].text == "Ada with a happy expression"
    assert cues(post(), files=[{**file, "only": "nobody"}])[0].text == ""
    with pytest.raises(ValueError, match="not a regular expression"):
        ContextOptions.model_validate({"files": [{**file, "only": "("}]})
