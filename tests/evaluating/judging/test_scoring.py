"""Marks of a judge: read or counted as unread, expected where probabilities are, never its own."""

import pytest

from gen_msa.chat import Completion
from gen_msa.errors import UserError
from gen_msa.evaluating.judging import (
    Judge,
    Judgement,
    JudgeSettings,
    figures,
    read_human,
    save,
    score,
)
from gen_msa.jsonl import read
from gen_msa.ledger import Ledger
from gen_msa.types import Status
from tests.evaluating.judging.scripted import judge_of, marked, row, rows, scored, write_human

FOCUS = {"criteria": ("judge/focus",)}


def test_every_criterion_is_asked_by_itself_at_temperature_0(tmp_path):
    judge, backend = judge_of(lambda chat: marked(4), tmp_path)
    found = score(judge, rows(3))
    assert [list(j.scores) for j in found] == [["correctness", "focus", "evidence", "fluency"]] * 3
    assert len(backend.requests) == 12
    assert {r.temperature for r in backend.requests} == {0}
    assert {m.score for j in found for m in j.scores.values()} == {4}


def test_the_judge_sees_the_answer_the_reason_and_what_is_known_of_the_picture(tmp_path):
    judge, backend = judge_of(lambda chat: marked(4), tmp_path, **FOCUS)
    score(judge, [row(1, "It dies.", caption="a dead phone", objects="phone", prompt="secret")])
    (request,) = backend.requests
    asked = request.chat.as_text()
    assert "a reader answered: negative" in asked
    assert "<<<REASON\nIt dies.\nREASON>>>" in asked
    assert "Of the picture is known: a dead phone; phone\n" in asked
    assert "secret" not in asked


def test_with_probabilities_the_mark_is_expected(tmp_path):
    answer = scored(p1=0.0, p2=0.0, p3=0.25, p4=0.5, p5=0.25)
    judge, _ = judge_of(lambda chat: answer, tmp_path, **FOCUS)
    found = score(judge, rows(2))
    mark = found[0].scores["focus"]
    assert mark.said == "4"
    assert mark.score == pytest.approx(4.0)
    answer = scored(p1=0.0, p2=0.0, p3=0.0, p4=0.6, p5=0.4)
    found = score(judge_of(lambda chat: answer, tmp_path, **FOCUS)[0], rows(2))
    assert found[0].scores["focus"].score == pytest.approx(4.4)
    value = figures(found)["focus"]
    assert value.value == pytest.approx(4.4)
    assert value.note == "expected over probabilities in 2 of 2; uncalibrated"


def test_broken_answers_are_counted_and_kept_whole(tmp_path):
    answers = {
        "number 0.": '{"score": "4", "why": "it',
        "number 1.": "I would rather not.",
        "number 2.": Completion(text="", finish_reason="error", error="server on fire"),
        "number 3.": "",
        "number 4.": Completion(text="Let me think", finish_reason="length"),
        "number 5.": marked(2),
    }
    judge, _ = judge_of(
        lambda chat: next(a for words, a in answers.items() if words in chat), tmp_path, **FOCUS
    )
    found = score(judge, rows(6))
    marks = [j.scores["focus"] for j in found]
    assert [m.status for m in marks] == [
        *[Status.UNPARSED, Status.UNPARSED, Status.ERROR, Status.EMPTY, Status.LENGTH, Status.OK]
    ]
    assert [m.raw for m in marks][:3] == [
        answers["number 0."],
        answers["number 1."],
        "server on fire",
    ]
    assert [m.score for m in marks] == [None] * 5 + [2]
    values = figures(found)
    assert values["unread"].value == pytest.approx(4 / 6)
    assert values["failed"].value == pytest.approx(1 / 6)
    assert (values["focus"].value, values["focus"].n) == (2, 1)


def test_a_row_without_an_explanation_is_not_asked_about(tmp_path):
    judge, backend = judge_of(lambda chat: marked(5), tmp_path, **FOCUS)
    found = score(judge, [row(0, "It dies."), row(1, None)])
    assert len(backend.requests) == 1
    mark = found[1].scores["focus"]
    assert (mark.asked, mark.status, mark.score) == (False, Status.EMPTY, None)
    assert figures(found)["explained"].value == 1 / 2
    assert figures(found)["focus"].n == 1


def test_judgements_come_back_from_their_file(tmp_path):
    judge, _ = judge_of(lambda chat: marked(3), tmp_path)
    found = score(judge, rows(3))
    save(found, tmp_path / "judgements.jsonl")
    assert list(read(tmp_path / "judgements.jsonl", Judgement)) == found


def test_nothing_is_asked_twice_and_an_error_is_asked_again(tmp_path):
    broken = Completion(text="", finish_reason="error", error="late")
    with Ledger(tmp_path / "judge.ledger") as known:
        judge, backend = judge_of(
            lambda chat: broken if "number 1." in chat else marked(3), tmp_path, known, **FOCUS
        )
        first = score(judge, rows(3))
        again, second = judge_of(lambda chat: marked(3), tmp_path, known, **FOCUS)
        found = score(again, rows(3))
    assert len(backend.requests) == 3
    assert len(second.requests) == 1
    assert [j.scores["focus"].score for j in first] == [3, None, 3]
    assert [j.scores["focus"].score for j in found] == [3, 3, 3]


@pytest.mark.parametrize(
    ("by", "maker"),
    [
        ("transformers:/models/Judge@adapters/x", None),
        ("http:http://elsewhere/v1#some/judge", None),
        ("me", {"settings": {"reader": "vllm:some/judge"}, "revision": "x"}),
        ("me", {"revision": "scripted-1"}),
    ],
)
def test_a_judge_of_its_own_words_is_refused_unless_asked_for(by, maker, tmp_path):
    pairs = rows(2, by=by)
    judge, backend = judge_of(lambda chat: marked(5), tmp_path)
    with pytest.raises(UserError, match="made these explanations itself"):
        score(judge, pairs, maker)
    assert backend.requests == []
    allowed, _ = judge_of(lambda chat: marked(5), tmp_path, same_model="allow")
    assert len(score(allowed, pairs, maker)) == 2


def test_an_other_model_is_let_in(tmp_path):
    maker = {"settings": {"reader": "http:http://127.0.0.1/v1#some/other"}, "revision": "x"}
    judge, _ = judge_of(lambda chat: marked(5), tmp_path)
    assert len(score(judge, rows(2, by="builtin"), maker)) == 2


def test_any_backend_can_judge_by_its_name(tmp_path):
    judge = Judge.open(JudgeSettings(judge="echo:3"), tmp_path)
    found = score(judge, rows(5))
    marks = [m for j in found for m in j.scores.values()]
    assert {m.status for m in marks} == {Status.OK}
    assert all(1 <= m.score <= 5 and sum(m.probs.values()) == pytest.approx(1) for m in marks)
    assert len({m.score for m in marks}) > 5
    with pytest.raises(UserError, match="no backend named"):
        Judge.open(JudgeSettings(judge="ecko"), tmp_path)


def test_prompts_of_another_kind_are_refused(tmp_path):
    judge, _ = judge_of(lambda chat: marked(5), tmp_path, criteria=("reader/full",))
    with pytest.raises(UserError, match="not for judges"):
        score(judge, rows(1))
    judge, _ = judge_of(lambda chat: marked(5), tmp_path, criteria=("judge/pair",))
    with pytest.raises(UserError, match="no numbers"):
        score(judge, rows(1))


def test_a_judge_that_always_says_five_agrees_with_nobody(tmp_path):
    judge, _ = judge_of(lambda chat: marked(5), tmp_path, **FOCUS)
    human = read_human(write_human(tmp_path / "human.jsonl", [1, 2, 3, 4, 5, 5]))
    values = figures(score(judge, rows(6)), human)
    assert values["focus"].value == 5
    assert values["kappa.focus"].value == pytest.approx(0)
    assert values["alpha.focus"].value < 0
    assert "kappa 0.00 with people on 6 rows" in values["focus"].note


def test_a_judge_that_says_what_people_say_agrees(tmp_path):
    people = [1, 2, 3, 4, 5, 3]
    judge, _ = judge_of(
        lambda chat: marked(next(m for i, m in enumerate(people) if f"number {i}." in chat)),
        tmp_path,
        criteria=("judge/focus", "judge/fluency"),
    )
    human = read_human(write_human(tmp_path / "a.jsonl", people))
    human += read_human(write_human(tmp_path / "b.jsonl", people[:3], rater="bob"))
    values = figures(score(judge, rows(8 - 2)), human)
    assert values["kappa.focus"].value == values["alpha.focus"].value == pytest.approx(1)
    assert values["kappa.focus"].n == 6
    assert "uncalibrated" not in values["focus"].note
    assert values["fluency"].note.endswith("uncalibrated")
    assert "kappa.fluency" not in values


def test_without_people_every_figure_says_uncalibrated(tmp_path):
    judge, _ = judge_of(lambda chat: marked(5), tmp_path)
    values = figures(score(judge, rows(3)))
    assert list(values) == [
        *["correctness", "focus", "evidence", "fluency", "explained", "unread", "failed"]
    ]
    assert all(v.note.endswith("uncalibrated") for v in values.values())
    elsewhere = read_human(write_human(tmp_path / "h.jsonl", [1, 2], criterion="charm"))
    assert figures(score(judge, rows(3)), elsewhere) == values


def test_a_broken_file_of_human_marks_is_an_error(tmp_path):
    path = write_human(tmp_path / "h.jsonl", [1])
    path.write_text(path.read_text() + '{"post": "2"}\n')
    with pytest.raises(UserError, match=r"h\.jsonl:2"):
        read_human(path)
    with pytest.raises(UserError, match="no file"):
        read_human(tmp_path / "none.jsonl")


def test_the_interval_lets_rows_of_a_picture_depend_on_each_other(tmp_path):
    judge, _ = judge_of(
        lambda chat: marked(5 if "number 0." in chat or "number 1." in chat else 1),
        tmp_path,
        **FOCUS,
    )
    value = figures(score(judge, rows(4)))["focus"]
    # Two pictures of two rows each: residuals add up to +4 and -4 in them.
    half = 1.959963984540054 * (2 / 1 * (16 + 16)) ** 0.5 / 4
    assert value.value == 3
    assert (value.low, value.high) == (pytest.approx(3 - half), pytest.approx(3 + half))
    assert value.how == "cluster-robust normal, 2 clusters"
