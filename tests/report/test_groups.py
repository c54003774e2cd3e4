"""Opinions by aspect, and who agrees with gold; the counts over them."""

from rich.console import Console

from gen_msa.report import Summary
from gen_msa.report.groups import by_aspect
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post, Status
from tests.report.making import NEG, POS, aspect, opinion, phone


def test_groups_follow_the_posts_aspects():
    groups = by_aspect(phone())
    assert [g.aspect.term for g in groups] == ["screen", "battery life"]
    assert [[o.by for o in g.said] for g in groups] == [["a", "b"], ["a", "b"]]
    assert [g.reference for g in groups] == [POS, NEG]


def test_an_aspect_without_its_place_joins_the_only_one_of_its_words():
    tea = aspect("Good tea.", "tea")
    said = (opinion("gold", tea, POS), opinion("a", Aspect(term="Tea"), POS))
    (group,) = by_aspect(Example(post=Post(id="1", text="Good tea."), opinions=said))
    assert group.aspect == tea
    assert group.verdict(said[1]) == "agrees"


def test_an_aspect_that_stands_twice_is_not_guessed():
    text = "tea and tea"
    placed = tuple(opinion("gold", Aspect(term="tea", start=s), POS) for s in (0, 8))
    said = (*placed, opinion("a", Aspect(term="tea"), NEG))
    assert len(by_aspect(Example(post=Post(id="1", text=text), opinions=said))) == 3


def test_what_cannot_be_compared_has_no_verdict():
    whole = Aspect(term="")
    torn = (opinion("gold", whole, POS), opinion("gold", whole, NEG), opinion("a", whole, POS))
    (group,) = by_aspect(Example(post=Post(id="1", text=""), opinions=torn))
    assert [group.verdict(o) for o in torn] == [None, None, None]
    scored = (opinion("gold", whole, POS), Opinion(by="a", score=1.5))
    (group,) = by_aspect(Example(post=Post(id="1", text=""), opinions=scored))
    assert group.verdict(scored[1]) is None


def test_an_unread_answer_disagrees():
    group = by_aspect(phone())[1]
    assert [(o.status, group.verdict(o)) for o in group.said] == [
        (Status.OK, "disagrees"),
        (Status.UNPARSED, "disagrees"),
    ]


def test_the_summary_counts_readers_statuses_and_agreement():
    summary = Summary()
    for example in (phone(1), phone(2), Example(post=Post(id="3", text=""))):
        summary.add(example)
    assert (summary.posts, summary.opinions, summary.without_opinion) == (3, 12, 1)
    assert summary.status == {Status.OK: 10, Status.UNPARSED: 2}
    assert summary.polarity == {Polarity.POSITIVE: 6}
    a, b = summary.readers["a"], summary.readers["b"]
    assert (a.compared, a.agree, a.unread) == (4, 2, 0)
    assert (b.compared, b.agree, b.unread, b.unread_rate) == (4, 2, 2, 0.5)


def test_a_printed_summary_names_every_reader_and_what_went_wrong():
    summary = Summary()
    summary.add(phone())
    console = Console(width=100, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(summary)
    said = captured.get()
    assert "1 post, 6 opinions" in said
    assert [line.split()[0] for line in said.splitlines()[2:]] == ["gold", "a", "b"]
    assert "1 of 2" in said
    assert "1 unparsed" in said
