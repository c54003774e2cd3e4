"""Rationales by another annotator of the same file: verbatim, for the same label only."""

import pytest

from gen_msa.errors import UserError
from gen_msa.finetuning.rationales import find_sources
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post

SCREEN, SOUP = Aspect(term="screen", start=0), Aspect(term="soup", start=11)
POST = Post(id="1", text="screen and soup", aspects=(SCREEN, SOUP))


def gold_opinions(*polarities):
    return [
        Opinion(annotator="gold", aspect=a, polarity=p)
        for a, p in zip((SCREEN, SOUP), polarities, strict=True)
    ]


def teacher_opinion(aspect, polarity, explanation, annotator="http:teacher"):
    return Opinion(annotator=annotator, aspect=aspect, polarity=polarity, explanation=explanation)


def explanations(*teachers, spec="from_annotator:http:teacher"):
    gold_labels = gold_opinions(Polarity.POSITIVE, Polarity.NEGATIVE)
    explained_examples = find_sources(spec).explain(
        [Example(post=POST, opinions=(*gold_labels, *teachers))], "gold"
    )
    return [o.explanation for o in explained_examples[0].opinions_by("gold")]


def test_annotator_with_colons_is_found_and_its_rationale_is_one_line():
    explained_texts = explanations(teacher_opinion(SCREEN, Polarity.POSITIVE, "It is\n praised."))
    assert explained_texts == ["It is praised.", None]


def test_rationale_of_other_label_aspect_or_annotator_is_ignored():
    assert explanations(
        teacher_opinion(SCREEN, Polarity.NEGATIVE, "It is blamed."),
        teacher_opinion(SOUP, Polarity.NEGATIVE, "Cold.", annotator="another"),
        teacher_opinion(SOUP, Polarity.NEGATIVE, "  "),
    ) == [None, None]


def test_first_rationale_wins_and_next_source_fills_the_gaps():
    explained_texts = explanations(
        teacher_opinion(SOUP, Polarity.NEGATIVE, "Cold.", annotator="b"),
        teacher_opinion(SCREEN, Polarity.POSITIVE, "First."),
        teacher_opinion(SCREEN, Polarity.POSITIVE, "Second."),
        spec="from_annotator:http:teacher,from_annotator:b",
    )
    assert explained_texts == ["First.", "Cold."]


def test_source_without_annotator_is_rejected():
    with pytest.raises(UserError, match="no annotator is named"):
        find_sources("from_annotator")
