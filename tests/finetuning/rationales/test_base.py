"""Rationale sources by name, in order, each with its share."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.finetuning.rationales import (
    RationaleChain,
    find_sources,
    rationale_sources,
    stable_random,
)
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post


class FakeRationaleSource:
    """Explains the given terms; records the terms it was asked for."""

    def __init__(self, **rationales_by_term):
        self.rationales_by_term = rationales_by_term
        self.requested_terms = []

    def rationales(self, examples):
        self.requested_terms += [o.aspect.term for e in examples for o in e.opinions]
        return [
            tuple(self.rationales_by_term.get(o.aspect.term) for o in e.opinions) for e in examples
        ]


def example(*terms, annotator="gold", number=1):
    text = " ".join(terms)
    aspects = tuple(Aspect(term=t, start=text.index(t)) for t in terms)
    opinions = tuple(
        Opinion(annotator=annotator, aspect=a, polarity=Polarity.POSITIVE) for a in aspects
    )
    return Example(post=Post(id=str(number), text=text, aspects=aspects), opinions=opinions)


def test_first_source_with_a_rationale_wins_and_is_recorded():
    first_source, second_source = (
        FakeRationaleSource(screen="first of screen"),
        FakeRationaleSource(screen="second", battery="second of battery"),
    )
    chain = RationaleChain([("one", first_source, 1.0), ("two", second_source, 1.0)])
    explained = chain.explain([example("screen", "battery", "price")], "gold")[0].opinions
    assert [o.explanation for o in explained] == ["first of screen", "second of battery", None]
    assert [o.provenance.get("rationale") for o in explained] == ["one", "two", None]
    assert second_source.requested_terms == ["battery", "price"]


def test_without_sources_opinions_keep_their_explanations():
    unexplained = example("screen")
    opinion = unexplained.opinions[0].model_copy(update={"explanation": "my own"})
    assert find_sources("").explain(
        [unexplained.model_copy(update={"opinions": (opinion,)})], "gold"
    )[0].opinions == (opinion,)


def test_with_a_source_existing_explanations_are_dropped():
    unexplained = example("screen")
    opinion = unexplained.opinions[0].model_copy(update={"explanation": "my own"})
    explained = RationaleChain([("p", FakeRationaleSource(), 1.0)]).explain(
        [Example(post=unexplained.post, opinions=(opinion,))], "gold"
    )
    assert explained[0].opinions[0].explanation is None


def test_opinions_of_other_annotators_are_untouched():
    source = FakeRationaleSource(screen="praised")
    two_annotators = example("screen").with_opinions(
        *example("screen", annotator="teacher").opinions
    )
    explained = RationaleChain([("p", source, 1.0)]).explain([two_annotators], "gold")[0]
    assert explained.opinions_by("teacher") == two_annotators.opinions_by("teacher")
    assert source.requested_terms == ["screen"]


@settings(max_examples=8, deadline=None)
@given(st.floats(0.05, 0.95))
def test_share_selects_that_fraction_deterministically(share):
    source = FakeRationaleSource(screen="praised")
    posts = [example("screen", number=n) for n in range(400)]
    first_run, second_run = (
        RationaleChain([("p", source, share)]).explain(posts, "gold") for _ in range(2)
    )
    explained = [e.opinions[0].explanation is not None for e in first_run]
    assert explained == [e.opinions[0].explanation is not None for e in second_run]
    assert abs(sum(explained) / 400 - share) < 0.12


def test_stable_random_depends_on_its_purpose():
    e = example("screen")
    assert stable_random(e.post, e.opinions[0], "share") != stable_random(
        e.post, e.opinions[0], "say"
    )


@pytest.mark.parametrize(
    "spec", ["cue*0", "cue*1.5", "cue*1.2.3", "cue:x", "cue cue", "cu", "minigpt4"]
)
def test_invalid_spec_is_rejected(spec):
    with pytest.raises(UserError):
        find_sources(spec)


def test_built_in_sources_are_registered():
    assert rationale_sources.names() == ["cue", "from_annotator", "minigpt4"]
