"""Reasons of another reader of the same file: its own words, for the same label only."""

import pytest

from gen_msa.errors import UserError
from gen_msa.finetuning.reasons import find
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post

SCREEN, SOUP = Aspect(term="screen", start=0), Aspect(term="soup", start=11)
POST = Post(id="1", text="screen and soup", aspects=(SCREEN, SOUP))


def gold(*polarities):
    return [
        Opinion(by="gold", aspect=a, polarity=p)
        for a, p in zip((SCREEN, SOUP), polarities, strict=True)
    ]


def said(aspect, polarity, reason, by="http:teacher"):
    return Opinion(by=by, aspect=aspect, polarity=polarity, explanation=reason)


def explained(*teachers, spec="by:http:teacher"):
    ours = gold(Polarity.POSITIVE, Polarity.NEGATIVE)
    told = find(spec).reasoned([Example(post=POST, opinions=(*ours, *teachers))], "gold")
    return [o.explanation for o in told[0].said_by("gold")]


def test_a_reader_whose_name_has_colons_gives_its_reason_on_one_line():
    told = explained(said(SCREEN, Polarity.POSITIVE, "It is\n praised."))
    assert told == ["It is praised.", None]


def test_a_reason_for_another_label_aspect_or_by_another_reader_is_not_taken():
    assert explained(
        said(SCREEN, Polarity.NEGATIVE, "It is blamed."),
        said(SOUP, Polarity.NEGATIVE, "Cold.", by="another"),
        said(SOUP, Polarity.NEGATIVE, "  "),
    ) == [None, None]


def test_of_several_the_first_is_taken_and_the_next_source_goes_on():
    told = explained(
        said(SOUP, Polarity.NEGATIVE, "Cold.", by="b"),
        said(SCREEN, Polarity.POSITIVE, "First."),
        said(SCREEN, Polarity.POSITIVE, "Second."),
        spec="by:http:teacher,by:b",
    )
    assert told == ["First.", "Cold."]


def test_a_source_without_a_name_is_refused():
    with pytest.raises(UserError, match="by whom"):
        find("by")
