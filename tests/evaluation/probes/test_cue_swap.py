"""Cue swap: a cue-based model flips with its cues, a text-based model does not."""

import json
from pathlib import Path

import pytest

from gen_msa.predictors import PredictorSettings, make
from tests.evaluation.probes.fake_predictors import (
    NEG,
    NEU,
    POS,
    FakeCuePredictor,
    FakePredictor,
    GoldWordCueSource,
    kettle_post,
    polarity_by_word,
    run_probe,
    two_aspect_examples,
    with_gold,
)

CUE_WORDS = {POS: "sunny", NEG: "stormy", NEU: "misty"}


def with_cue_meta(example):
    """Add a caption that reveals the gold label, by aspect and for the whole post."""
    words = {o.aspect.term: CUE_WORDS[o.polarity] for o in example.opinions}
    meta = words | {"caption": f"a {CUE_WORDS[example.opinions[0].polarity]} view"}
    return example.model_copy(update={"post": example.post.model_copy(update={"meta": meta})})


SINGLE_ASPECT = [
    with_cue_meta(with_gold(kettle_post(i, "odd"), (NEG, NEU, POS)[i % 3])) for i in range(30)
]
TWO_ASPECTS = [with_cue_meta(e) for e in two_aspect_examples(20)]


def polarity_by_hint(post, aspect):
    return next((p for p, w in CUE_WORDS.items() if w == post.meta["hint"]), NEU)


def test_cue_based_predictor_flips_with_swapped_cues():
    metrics = run_probe(
        "cue_swap", FakeCuePredictor(polarity_by_hint, source=GoldWordCueSource()), TWO_ASPECTS
    ).metrics
    assert metrics["post_flip_rate"].value == metrics["aspect_flip_rate"].value == 1
    assert metrics["post_dp"].value == pytest.approx(0.97)
    assert metrics["aspect_flip_rate"].n == 40


def test_text_based_predictor_does_not_flip_with_swapped_cues():
    metrics = run_probe(
        "cue_swap", FakeCuePredictor(polarity_by_word, source=GoldWordCueSource()), SINGLE_ASPECT
    ).metrics
    assert metrics["post_flip_rate"].value == metrics["post_dp"].value == 0
    assert metrics["post_flip_rate"].n == 30
    assert metrics["aspect_flip_rate"].value is None
    assert "30 of 30 rows: no other cue available" in metrics["aspect_flip_rate"].note


def test_cue_swap_repredicts_only_rows_whose_cue_changes():
    examples = [
        e.model_copy(update={"post": e.post.model_copy(update={"meta": {}})}) for e in SINGLE_ASPECT
    ]
    predictor = FakeCuePredictor(polarity_by_hint, source=GoldWordCueSource())
    metrics = run_probe("cue_swap", predictor, examples).metrics
    assert predictor.received_posts == []
    assert "no cue that another post or aspect would change" in metrics["post_flip_rate"].note


def test_cue_swap_is_not_applicable_without_cues():
    metrics = run_probe("cue_swap", FakePredictor(polarity_by_word), SINGLE_ASPECT).metrics
    assert all("not applicable: the model takes no cues" in v.note for v in metrics.values())


def scripted_settings(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return PredictorSettings.model_validate(
        {"model": "echo", "cues": {"context": {}}, "backend": {"script": str(path)}}
    )


def answer_text(label):
    return f"Sentiment: {label}\nExplanation: so it is"


def test_cue_swap_replaces_cues_of_prompted_predictor(tmp_path):
    script_lines = [{"match": f"a {w} view", "text": answer_text(p)} for p, w in CUE_WORDS.items()]
    settings = scripted_settings(tmp_path, *script_lines)
    predictor = make(settings, Path())
    result = run_probe("cue_swap", predictor, SINGLE_ASPECT, settings=settings)
    assert result.metrics["post_flip_rate"].value == 1
    assert result.metrics["post_flip_rate"].n == 30
    assert result.metrics["post_dp"].value is None
    assert {t.description.split("view")[0][-7:] for t in result.trials} <= {
        " sunny ",
        "stormy ",
        " misty ",
    }
    assert all("swapped:meta:caption" in t.description for t in result.trials)


def test_text_based_prompted_predictor_does_not_flip(tmp_path):
    positive_line = {"regex": r"kettle \d*[02468]:", "text": answer_text("positive")}
    settings = scripted_settings(tmp_path, positive_line, {"text": answer_text("negative")})
    metrics = run_probe(
        "cue_swap", make(settings, Path()), SINGLE_ASPECT, settings=settings
    ).metrics
    assert metrics["post_flip_rate"].value == 0
    assert metrics["post_flip_rate"].n == 30


def test_cue_swap_is_not_applicable_when_cues_are_off(tmp_path):
    settings = PredictorSettings(model="echo", cues={})
    metrics = run_probe(
        "cue_swap", make(settings, Path()), SINGLE_ASPECT, settings=settings
    ).metrics
    assert "no cue that another post" in metrics["post_dp"].note
