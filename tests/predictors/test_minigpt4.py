"""Recorded rationales as a reader: its own label or none, its reason whole, its silence told."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data import DATA_ROOT_ENV_VAR, open_examples
from gen_msa.data.minigpt4 import stated_label
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import Aspect, Example, Media, Polarity, Post, Status

TEXT = "Ada 's soup was a real joy tonight"
SOUP = Aspect(term="soup", start=7)
POST = Post(
    id="1",
    text=TEXT,
    media=(Media(kind="image", path="17.jpg"),),
    aspects=(SOUP, Aspect(term="Ada", start=0)),
)
NAME = "minigpt4:mine:dev"


@pytest.fixture
def predict_from_rationale(tmp_path, monkeypatch):
    """A function: what the reader says of the soup when the record holds `reason`."""
    monkeypatch.setenv(DATA_ROOT_ENV_VAR, str(tmp_path))

    def predict(rationale, **more):
        row = {"text": "Ada 's $T$ was a  real joy tonight\n", "target": "soup", "ImageID": "17"}
        row |= {"reason": rationale, "gt_label": "-1", "description": "?"} | more
        folder = tmp_path / "mine" / "minigpt4_rationales"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dev.json").write_text(json.dumps([row]), encoding="utf-8")
        (prediction,) = make(PredictorSettings(model=NAME), Path()).predict([POST])
        return prediction.opinions

    return predict


def test_label_and_explanation_come_from_the_rationale(predict_from_rationale):
    raw = "Sentiment: Positive\nReason: The soup is a joy, not a negative.\n\n\ubc88\uc5ed: ..."
    soup, ada = predict_from_rationale(raw)
    assert (soup.annotator, soup.aspect, soup.polarity) == (NAME, SOUP, Polarity.POSITIVE)
    assert soup.explanation == "The soup is a joy, not a negative."
    assert soup.raw == raw
    assert (ada.status, ada.polarity) == (Status.EMPTY, None)
    assert "no rationale" in ada.provenance["recorded"]


@pytest.mark.parametrize(
    ("reason", "polarity"),
    [
        ("Sentiment: Neutral. No positive or negative words.", Polarity.NEUTRAL),
        ("[Neutral: nothing is said]", Polarity.NEUTRAL),
        ("It sounds positive. Truly POSITIVE.", Polarity.POSITIVE),
        ("It sounds positive, or neutral.", None),
        ("Sentiment: Positive/Negative. Both.", None),
        ("Sentiment: Positive. Then again, Sentiment: Negative.", None),
        ("Sentiment: mixed. Nothing to add.", None),
        ("Sentiment: joyful. It is a positive word.", Polarity.POSITIVE),
        ("A joy.", None),
        ("Positively so.", None),
    ],
)
def test_label_is_read_only_when_unambiguous(predict_from_rationale, reason, polarity):
    soup = predict_from_rationale(reason)[0]
    assert soup.polarity == polarity == stated_label(reason)
    assert soup.status is (Status.OK if polarity else Status.UNPARSED)
    assert soup.raw == reason
    assert soup.explanation


def test_empty_rationale_gives_empty_status(predict_from_rationale):
    assert predict_from_rationale(" ")[0].status is Status.EMPTY


@pytest.mark.parametrize("other", [{"ImageID": "18"}, {"target": "Ada"}, {"text": "$T$ was a joy"}])
def test_rows_are_joined_by_text_target_and_image(predict_from_rationale, other):
    assert predict_from_rationale("Sentiment: Positive. Joy.", **other)[0].status is Status.EMPTY


@given(st.text(alphabet="Sentiment: positvengaurl.\n", max_size=80))
def test_stated_label_accepts_any_text(text):
    assert stated_label(text) in (*Polarity, None)


@pytest.mark.parametrize("target", ["mine", "mine:train", "mine:../dev", "../mine:dev", ""])
def test_missing_split_is_named(predict_from_rationale, target):
    predict_from_rationale("Sentiment: Positive.")
    with pytest.raises(
        UserError, match=r"no rationales of the split|needs (?:the name of|a folder)"
    ):
        make(PredictorSettings(model=f"minigpt4:{target}"), Path())


def test_fingerprint_depends_on_the_record(predict_from_rationale, tmp_path):
    fingerprints = []
    for rationale in ("Sentiment: Positive.", "Sentiment: Positive.", "Sentiment: Negative."):
        predict_from_rationale(rationale)
        fingerprints.append(make(PredictorSettings(model=NAME), Path()).fingerprint())
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.skipif(not os.environ.get(DATA_ROOT_ENV_VAR), reason="GEN_MSA_DATA is not set")
def test_every_aspect_of_real_dev_split_has_a_rationale():
    predictor = make(PredictorSettings(model="minigpt4:twitter2015:dev"), Path())
    posts = [e.post for e in open_examples("twitter2015:dev").rows() if isinstance(e, Example)]
    opinions = [o for r in predictor.predict(posts) for o in r.opinions]
    assert len(opinions) == 1122
    assert sum(o.status is Status.OK for o in opinions) == 1120
    assert {o.status for o in opinions} == {Status.OK, Status.UNPARSED}
    assert all(o.explanation for o in opinions)
