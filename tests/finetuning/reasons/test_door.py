"""The room of reasons: sources by name, in order, each with its share."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.finetuning.reasons import Reasons, draw, find, reasons
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post


class Parrot:
    """Explains what it was told to; remembers what it was asked."""

    def __init__(self, **said):
        self.said = said
        self.asked = []

    def reasons(self, examples):
        self.asked += [o.aspect.term for e in examples for o in e.opinions]
        return [tuple(self.said.get(o.aspect.term) for o in e.opinions) for e in examples]


def example(*terms, by="gold", number=1):
    text = " ".join(terms)
    aspects = tuple(Aspect(term=t, start=text.index(t)) for t in terms)
    said = tuple(Opinion(by=by, aspect=a, polarity=Polarity.POSITIVE) for a in aspects)
    return Example(post=Post(id=str(number), text=text, aspects=aspects), opinions=said)


def test_the_first_source_that_has_a_reason_gives_it_and_is_named():
    one, two = Parrot(screen="one of screen"), Parrot(screen="two", battery="two of battery")
    chain = Reasons([("one", one, 1.0), ("two", two, 1.0)])
    told = chain.reasoned([example("screen", "battery", "price")], "gold")[0].opinions
    assert [o.explanation for o in told] == ["one of screen", "two of battery", None]
    assert [o.how.get("reason") for o in told] == ["one", "two", None]
    assert two.asked == ["battery", "price"]


def test_without_a_source_the_opinions_keep_their_own_explanations():
    given_ = example("screen")
    own = given_.opinions[0].model_copy(update={"explanation": "my own"})
    assert find("").reasoned([given_.model_copy(update={"opinions": (own,)})], "gold")[
        0
    ].opinions == (own,)


def test_with_a_source_an_explanation_that_came_with_the_label_is_not_learned():
    given_ = example("screen")
    own = given_.opinions[0].model_copy(update={"explanation": "my own"})
    told = Reasons([("p", Parrot(), 1.0)]).reasoned(
        [Example(post=given_.post, opinions=(own,))], "gold"
    )
    assert told[0].opinions[0].explanation is None


def test_opinions_of_others_are_neither_shown_nor_changed():
    parrot = Parrot(screen="told")
    both = example("screen").adding(*example("screen", by="teacher").opinions)
    told = Reasons([("p", parrot, 1.0)]).reasoned([both], "gold")[0]
    assert told.said_by("teacher") == both.said_by("teacher")
    assert parrot.asked == ["screen"]


@settings(max_examples=8, deadline=None)
@given(st.floats(0.05, 0.95))
def test_a_share_is_about_that_share_and_always_the_same_labels(share):
    parrot = Parrot(screen="told")
    posts = [example("screen", number=n) for n in range(400)]
    first, second = (Reasons([("p", parrot, share)]).reasoned(posts, "gold") for _ in range(2))
    explained = [e.opinions[0].explanation is not None for e in first]
    assert explained == [e.opinions[0].explanation is not None for e in second]
    assert abs(sum(explained) / 400 - share) < 0.12


def test_a_draw_differs_by_what_is_drawn():
    e = example("screen")
    assert draw(e.post, e.opinions[0], "share") != draw(e.post, e.opinions[0], "say")


@pytest.mark.parametrize(
    "spec", ["cue*0", "cue*1.5", "cue*1.2.3", "cue:x", "cue cue", "cu", "minigpt4"]
)
def test_a_wrong_spec_is_refused(spec):
    with pytest.raises(UserError):
        find(spec)


def test_the_shipped_sources_are_there():
    assert reasons.names() == ["by", "cue", "minigpt4"]
