"""Cue swap: a reader of cues flips with them, a reader of text does not."""

import json
from pathlib import Path

import pytest

from gen_msa.readers import ReaderSettings, make
from tests.evaluating.probing.doubles import (
    NEG,
    NEU,
    POS,
    Double,
    GoldWord,
    Hinted,
    by_word,
    gold,
    run,
    sentence,
    two_sided,
)

WORD = {POS: "sunny", NEG: "stormy", NEU: "misty"}


def hinted(example):
    """The post with a caption that tells gold, by aspect and as a whole."""
    words = {o.aspect.term: WORD[o.polarity] for o in example.opinions}
    meta = words | {"caption": f"a {WORD[example.opinions[0].polarity]} view"}
    return example.model_copy(update={"post": example.post.model_copy(update={"meta": meta})})


ONE = [hinted(gold(sentence(i, "odd"), (NEG, NEU, POS)[i % 3])) for i in range(30)]
TWO = [hinted(e) for e in two_sided(20)]


def by_hint(post, aspect):
    return next((p for p, w in WORD.items() if w == post.meta["hint"]), NEU)


def test_a_reader_of_cues_flips_with_another_posts_cue_and_another_aspects():
    found = run("cue_swap", Hinted(by_hint, source=GoldWord()), TWO).figures
    assert found["post_flip_rate"].value == found["aspect_flip_rate"].value == 1
    assert found["post_dp"].value == pytest.approx(0.97)
    assert found["aspect_flip_rate"].n == 40


def test_a_reader_of_text_that_is_shown_cues_does_not_flip():
    found = run("cue_swap", Hinted(by_word, source=GoldWord()), ONE).figures
    assert found["post_flip_rate"].value == found["post_dp"].value == 0
    assert found["post_flip_rate"].n == 30
    assert found["aspect_flip_rate"].value is None
    assert "30 of 30 rows: no other cue to be had" in found["aspect_flip_rate"].note


def test_only_rows_with_another_cue_are_read_again():
    alike = [e.model_copy(update={"post": e.post.model_copy(update={"meta": {}})}) for e in ONE]
    reader = Hinted(by_hint, source=GoldWord())
    found = run("cue_swap", reader, alike).figures
    assert reader.asked == []
    assert "no cue that another post or aspect would change" in found["post_flip_rate"].note


def test_a_reader_without_cues_is_not_applicable():
    found = run("cue_swap", Double(by_word), ONE).figures
    assert all("not applicable: the reader takes no cues" in v.note for v in found.values())


def scripted(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return ReaderSettings.model_validate(
        {"reader": "echo", "cues": {"context": {}}, "backend": {"script": str(path)}}
    )


def answer(label):
    return f"Sentiment: {label}\nExplanation: so it is"


def test_a_prompted_reader_is_given_other_cues_without_being_loaded_again(tmp_path):
    by_caption = [{"match": f"a {w} view", "text": answer(p)} for p, w in WORD.items()]
    settings = scripted(tmp_path, *by_caption)
    reader = make(settings, Path())
    probed = run("cue_swap", reader, ONE, settings=settings)
    assert probed.figures["post_flip_rate"].value == 1
    assert probed.figures["post_flip_rate"].n == 30
    assert probed.figures["post_dp"].value is None
    assert {t.told.split("view")[0][-7:] for t in probed.trials} <= {
        " sunny ",
        "stormy ",
        " misty ",
    }
    assert all("swapped:meta:caption" in t.told for t in probed.trials)


def test_a_prompted_reader_that_goes_by_the_text_does_not_flip(tmp_path):
    by_number = {"regex": r"kettle \d*[02468]:", "text": answer("positive")}
    settings = scripted(tmp_path, by_number, {"text": answer("negative")})
    found = run("cue_swap", make(settings, Path()), ONE, settings=settings).figures
    assert found["post_flip_rate"].value == 0
    assert found["post_flip_rate"].n == 30


def test_a_prompted_reader_whose_cues_are_off_is_not_applicable(tmp_path):
    settings = ReaderSettings(reader="echo", cues={})
    found = run("cue_swap", make(settings, Path()), ONE, settings=settings).figures
    assert "no cue that another post" in found["post_dp"].note
