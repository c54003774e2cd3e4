"""Recorded rationales as a reader: its own label or none, its reason whole, its silence told."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data import ROOT_VARIABLE, open_source
from gen_msa.data.minigpt4 import declared
from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings, make
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
def said(tmp_path, monkeypatch):
    """A function: what the reader says of the soup when the record holds `reason`."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))

    def read(reason, **more):
        row = {"text": "Ada 's $T$ was a  real joy tonight\n", "target": "soup", "ImageID": "17"}
        row |= {"reason": reason, "gt_label": "-1", "description": "?"} | more
        folder = tmp_path / "mine" / "minigpt4_rationales"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dev.json").write_text(json.dumps([row]), encoding="utf-8")
        (reading,) = make(ReaderSettings(reader=NAME), Path()).read([POST])
        return reading.opinions

    return read


def test_the_label_is_the_rationales_own_and_the_reason_is_kept(said):
    raw = "Sentiment: Positive\nReason: The soup is a joy, not a negative.\n\n\ubc88\uc5ed: ..."
    soup, ada = said(raw)
    assert (soup.by, soup.aspect, soup.polarity) == (NAME, SOUP, Polarity.POSITIVE)
    assert soup.explanation == "The soup is a joy, not a negative."
    assert soup.raw == raw
    assert (ada.status, ada.polarity) == (Status.EMPTY, None)
    assert "no rationale" in ada.how["recorded"]


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
def test_one_label_is_read_and_two_or_none_are_not(said, reason, polarity):
    soup = said(reason)[0]
    assert soup.polarity == polarity == declared(reason)
    assert soup.status is (Status.OK if polarity else Status.UNPARSED)
    assert soup.raw == reason
    assert soup.explanation


def test_an_empty_rationale_is_empty(said):
    assert said(" ")[0].status is Status.EMPTY


@pytest.mark.parametrize("other", [{"ImageID": "18"}, {"target": "Ada"}, {"text": "$T$ was a joy"}])
def test_rows_are_joined_by_text_target_and_picture(said, other):
    assert said("Sentiment: Positive. Joy.", **other)[0].status is Status.EMPTY


@given(st.text(alphabet="Sentiment: positvengaurl.\n", max_size=80))
def test_no_rationale_makes_it_fail(text):
    assert declared(text) in (*Polarity, None)


@pytest.mark.parametrize("target", ["mine", "mine:train", "mine:../dev", "../mine:dev", ""])
def test_a_split_that_is_not_there_is_named(said, target):
    said("Sentiment: Positive.")
    with pytest.raises(UserError, match=r"no rationales of the split|needs a folder"):
        make(ReaderSettings(reader=f"minigpt4:{target}"), Path())


def test_another_record_is_another_reader(said, tmp_path):
    prints = []
    for reason in ("Sentiment: Positive.", "Sentiment: Positive.", "Sentiment: Negative."):
        said(reason)
        prints.append(make(ReaderSettings(reader=NAME), Path()).fingerprint())
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.skipif(not os.environ.get(ROOT_VARIABLE), reason="GEN_MSA_DATA is not set")
def test_every_aspect_of_the_real_dev_split_has_a_rationale():
    reader = make(ReaderSettings(reader="minigpt4:twitter2015:dev"), Path())
    posts = [e.post for e in open_source("twitter2015:dev").rows() if isinstance(e, Example)]
    said = [o for r in reader.read(posts) for o in r.opinions]
    assert len(said) == 1122
    assert sum(o.status is Status.OK for o in said) == 1120
    assert {o.status for o in said} == {Status.OK, Status.UNPARSED}
    assert all(o.explanation for o in said)
