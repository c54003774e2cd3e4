"""Opinions grouped by aspect, agreement with gold, and counts."""

from rich.console import Console

from gen_msa.report import OpinionSummary
from gen_msa.report.summary import group_by_aspect
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post, Status
from tests.report.builders import NEG, POS, aspect_at, opinion, phone_example


def test_group_by_aspect_follows_post_order():
    groups = group_by_aspect(phone_example())
    assert [g.aspect.term for g in groups] == ["screen", "battery life"]
    assert [[o.annotator for o in g.predictions] for g in groups] == [["a", "b"], ["a", "b"]]
    assert [g.reference_label for g in groups] == [POS, NEG]


def test_group_by_aspect_matches_unlocated_aspect():
    tea = aspect_at("Good tea.", "tea")
    opinions = (opinion("gold", tea, POS), opinion("a", Aspect(term="Tea"), POS))
    (group,) = group_by_aspect(Example(post=Post(id="1", text="Good tea."), opinions=opinions))
    assert group.aspect == tea
    assert group.verdict(opinions[1]) == "agrees"


def test_group_by_aspect_does_not_guess_between_occurrences():
    text = "tea and tea"
    located = tuple(opinion("gold", Aspect(term="tea", start=s), POS) for s in (0, 8))
    opinions = (*located, opinion("a", Aspect(term="tea"), NEG))
    assert len(group_by_aspect(Example(post=Post(id="1", text=text), opinions=opinions))) == 3


def test_verdict_is_none_when_incomparable():
    overall = Aspect(term="")
    conflicting = (
        opinion("gold", overall, POS),
        opinion("gold", overall, NEG),
        opinion("a", overall, POS),
    )
    (group,) = group_by_aspect(Example(post=Post(id="1", text=""), opinions=conflicting))
    assert [group.verdict(o) for o in conflicting] == [None, None, None]
    scored = (opinion("gold", overall, POS), Opinion(annotator="a", score=1.5))
    (group,) = group_by_aspect(Example(post=Post(id="1", text=""), opinions=scored))
    assert group.verdict(scored[1]) is None


def test_unparsed_answer_disagrees():
    group = group_by_aspect(phone_example())[1]
    assert [(o.status, group.verdict(o)) for o in group.predictions] == [
        (Status.OK, "disagrees"),
        (Status.UNPARSED, "disagrees"),
    ]


def test_summary_counts_annotators_statuses_and_agreement():
    summary = OpinionSummary()
    for example in (phone_example(1), phone_example(2), Example(post=Post(id="3", text=""))):
        summary.add(example)
    assert (summary.posts, summary.opinions, summary.without_opinion) == (3, 12, 1)
    assert summary.status == {Status.OK: 10, Status.UNPARSED: 2}
    assert summary.polarity == {Polarity.POSITIVE: 6}
    a, b = summary.annotators["a"], summary.annotators["b"]
    assert (a.compared, a.agree, a.unparsed) == (4, 2, 0)
    assert (b.compared, b.agree, b.unparsed, b.unparsed_rate) == (4, 2, 2, 0.5)


def test_printed_summary_lists_annotators_and_errors():
    summary = OpinionSummary()
    summary.add(phone_example())
    console = Console(width=100, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(summary)
    output = captured.get()
    assert "1 post, 6 opinions" in output
    assert [line.split()[0] for line in output.splitlines()[2:]] == ["gold", "a", "b"]
    assert "1 of 2" in output
    assert "1 unparsed" in output
