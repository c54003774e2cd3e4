"""Two readers before a judge, in both orders: a bent to a place is exposed and wins nothing."""

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluating.judging import Duel, duel, duel_figures, save
from gen_msa.jsonl import read
from tests.evaluating.judging.scripted import judge_of, row, rows


def duels(say, root, count=6, **settings):
    judge, backend = judge_of(say, root, **settings)
    found = duel(judge, rows(count, "Good", by="me"), rows(count, "Bad", by="you"))
    return found, backend


def better(chat):
    """A judge that looks at the words: `Good` beats `Bad` wherever it stands."""
    return "Better: A" if chat.index("Good, number") < chat.index("Bad, number") else "Better: B"


def test_a_judge_with_a_bent_to_the_first_place_is_exposed(tmp_path):
    found, backend = duels(lambda chat: "Better: A\nWhy: it came first.", tmp_path)
    assert len(backend.requests) == 12
    assert {d.winner for d in found} == {"tie"}
    values = duel_figures(found)
    assert values["swap_agreement"].value == 0
    assert values["first"].value == 1
    assert (values["a"].value, values["b"].value, values["tie"].value) == (0, 0, 1)


def test_a_judge_that_looks_at_the_words_agrees_with_itself(tmp_path):
    found, _ = duels(better, tmp_path)
    assert {d.winner for d in found} == {"a"}
    values = duel_figures(found)
    assert (values["a"].value, values["swap_agreement"].value, values["first"].value) == (1, 1, 0.5)
    assert (values["a"].low, values["a"].how) == (
        pytest.approx(0.4385, abs=1e-4),
        "Wilson, 3 clusters",
    )
    assert all(v.note == "uncalibrated" for v in values.values())


def test_both_orders_show_the_same_two_reasons(tmp_path):
    _, backend = duels(better, tmp_path, count=1)
    forth, back = (r.chat.as_text() for r in backend.requests)
    assert "<<<REASON-A\nGood, number 0.\nREASON-A>>>" in forth
    assert "<<<REASON-A\nBad, number 0.\nREASON-A>>>" in back
    assert {r.temperature for r in backend.requests} == {0}


def test_an_answer_that_cannot_be_read_wins_nothing_and_is_counted(tmp_path):
    def say(chat):
        return "Better: both, really" if "number 0." in chat else better(chat)

    found, _ = duels(say, tmp_path, count=4)
    assert [d.winner for d in found] == ["unread", "a", "a", "a"]
    assert found[0].forth.raw == "Better: both, really"
    values = duel_figures(found)
    assert sum(values[k].value for k in ("a", "b", "tie", "unread")) == 1
    assert values["unread"].value == 1 / 4
    assert (values["swap_agreement"].value, values["swap_agreement"].n) == (1, 3)


def test_a_tie_both_times_is_agreement_and_a_tie_once_is_not(tmp_path):
    found, _ = duels(lambda chat: "Better: tie", tmp_path)
    assert duel_figures(found)["swap_agreement"].value == 1
    assert duel_figures(found)["first"].value is None

    def unsure(chat):
        return "Better: A" if chat.index("Good") < chat.index("Bad") else "Better: tie"

    found, _ = duels(unsure, tmp_path)
    assert {d.winner for d in found} == {"tie"}
    assert duel_figures(found)["swap_agreement"].value == 0


def test_rows_that_one_of_the_two_leaves_unexplained_are_left_out(tmp_path):
    judge, _ = judge_of(better, tmp_path)
    found = duel(
        judge,
        [row(0, "Good, number 0."), row(1, None)],
        [row(0, "Bad, number 0."), row(1, "Bad, number 1.")],
    )
    assert [d.post for d in found] == ["0"]
    assert duel_figures([])["a"].value is None


def test_other_rows_another_prompt_and_an_own_model_are_refused(tmp_path):
    judge, _ = judge_of(better, tmp_path)
    with pytest.raises(ValueError, match="not the same"):
        duel(judge, rows(2), rows(3))
    with pytest.raises(UserError, match="made these explanations itself"):
        duel(judge, rows(1), rows(1, by="vllm:some/judge"))
    other, _ = judge_of(better, tmp_path, pair="judge/focus")
    with pytest.raises(UserError, match="A, B, tie"):
        duel(other, rows(1), rows(1))


def test_duels_come_back_from_their_file(tmp_path):
    found, _ = duels(better, tmp_path)
    save(found, tmp_path / "duels.jsonl")
    assert list(read(tmp_path / "duels.jsonl", Duel)) == found
