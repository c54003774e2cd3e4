"""Pointwise ratings: expected values, unparsed answers, and no rating of the judge's own texts."""

import pytest

from gen_msa.answer_cache import AnswerCache
from gen_msa.chat import Completion
from gen_msa.errors import UserError
from gen_msa.evaluation.llm_judge import (
    Judge,
    Judgement,
    JudgeSettings,
    judge_pointwise,
    pointwise_metrics,
    read_human_ratings,
    save_judgements,
)
from gen_msa.jsonl import read
from gen_msa.types import Status
from tests.evaluation.llm_judge.scripted_judge import (
    make_judge,
    make_pair,
    make_pairs,
    rating_answer,
    scored_completion,
    write_human_ratings,
)

FOCUS = {"criteria": ("judge/focus",)}


def test_pointwise_asks_each_criterion_at_temperature_0(tmp_path):
    judge, backend = make_judge(lambda chat: rating_answer(4), tmp_path)
    judgements = judge_pointwise(judge, make_pairs(3))
    assert [list(j.ratings) for j in judgements] == [
        ["correctness", "focus", "evidence", "fluency"]
    ] * 3
    assert len(backend.requests) == 12
    assert {r.temperature for r in backend.requests} == {0}
    assert {m.score for j in judgements for m in j.ratings.values()} == {4}


def test_judge_prompt_holds_answer_explanation_and_image_text(tmp_path):
    judge, backend = make_judge(lambda chat: rating_answer(4), tmp_path, **FOCUS)
    judge_pointwise(
        judge, [make_pair(1, "It dies.", caption="a dead phone", objects="phone", prompt="secret")]
    )
    (request,) = backend.requests
    prompt = request.chat.as_text()
    assert "a model answered: negative" in prompt
    assert "<<<REASON\nIt dies.\nREASON>>>" in prompt
    assert "Of the picture is known: a dead phone; phone\n" in prompt
    assert "secret" not in prompt


def test_rating_is_expected_value_over_probabilities(tmp_path):
    answer = scored_completion(p1=0.0, p2=0.0, p3=0.25, p4=0.5, p5=0.25)
    judge, _ = make_judge(lambda chat: answer, tmp_path, **FOCUS)
    judgements = judge_pointwise(judge, make_pairs(2))
    rating = judgements[0].ratings["focus"]
    assert rating.choice == "4"
    assert rating.score == pytest.approx(4.0)
    answer = scored_completion(p1=0.0, p2=0.0, p3=0.0, p4=0.6, p5=0.4)
    judgements = judge_pointwise(
        make_judge(lambda chat: answer, tmp_path, **FOCUS)[0], make_pairs(2)
    )
    assert judgements[0].ratings["focus"].score == pytest.approx(4.4)
    value = pointwise_metrics(judgements)["focus"]
    assert value.value == pytest.approx(4.4)
    assert value.note == (
        "no interval: 1 cluster, at least 5 are needed; "
        "expected over probabilities in 2 of 2; uncalibrated"
    )


def test_unparsed_ratings_are_counted_and_stored_verbatim(tmp_path):
    answers = {
        "number 0.": '{"score": "4", "why": "it',
        "number 1.": "I would rather not.",
        "number 2.": Completion(text="", finish_reason="error", error="server on fire"),
        "number 3.": "",
        "number 4.": Completion(text="Let me think", finish_reason="length"),
        "number 5.": rating_answer(2),
    }
    judge, _ = make_judge(
        lambda chat: next(a for marker, a in answers.items() if marker in chat), tmp_path, **FOCUS
    )
    judgements = judge_pointwise(judge, make_pairs(6))
    ratings = [j.ratings["focus"] for j in judgements]
    assert [m.status for m in ratings] == [
        *[Status.UNPARSED, Status.UNPARSED, Status.ERROR, Status.EMPTY, Status.LENGTH, Status.OK]
    ]
    assert [m.raw for m in ratings][:3] == [
        answers["number 0."],
        answers["number 1."],
        "server on fire",
    ]
    assert [m.score for m in ratings] == [None] * 5 + [2]
    values = pointwise_metrics(judgements)
    assert values["unparsed"].value == pytest.approx(4 / 6)
    assert values["failed"].value == pytest.approx(1 / 6)
    assert (values["focus"].value, values["focus"].n) == (2, 1)


def test_pointwise_skips_rows_without_explanation(tmp_path):
    judge, backend = make_judge(lambda chat: rating_answer(5), tmp_path, **FOCUS)
    judgements = judge_pointwise(judge, [make_pair(0, "It dies."), make_pair(1, None)])
    assert len(backend.requests) == 1
    rating = judgements[1].ratings["focus"]
    assert (rating.was_sent, rating.status, rating.score) == (False, Status.EMPTY, None)
    assert pointwise_metrics(judgements)["explained"].value == 1 / 2
    assert pointwise_metrics(judgements)["focus"].n == 1


def test_judgements_round_trip_through_file(tmp_path):
    judge, _ = make_judge(lambda chat: rating_answer(3), tmp_path)
    judgements = judge_pointwise(judge, make_pairs(3))
    save_judgements(judgements, tmp_path / "judgements.jsonl")
    assert list(read(tmp_path / "judgements.jsonl", Judgement)) == judgements


def test_judge_cache_reuses_answers_and_retries_errors(tmp_path):
    broken = Completion(text="", finish_reason="error", error="late")
    with AnswerCache(tmp_path / "judge.cache") as cache:
        judge, backend = make_judge(
            lambda chat: broken if "number 1." in chat else rating_answer(3),
            tmp_path,
            cache,
            **FOCUS,
        )
        first_judgements = judge_pointwise(judge, make_pairs(3))
        second_judge, second_backend = make_judge(
            lambda chat: rating_answer(3), tmp_path, cache, **FOCUS
        )
        judgements = judge_pointwise(second_judge, make_pairs(3))
    assert len(backend.requests) == 3
    assert len(second_backend.requests) == 1
    assert [j.ratings["focus"].score for j in first_judgements] == [3, None, 3]
    assert [j.ratings["focus"].score for j in judgements] == [3, 3, 3]


@pytest.mark.parametrize(
    ("annotator", "author"),
    [
        ("transformers:/models/Judge@adapters/x", None),
        ("http:http://elsewhere/v1#some/judge", None),
        ("me", {"settings": {"model": "vllm:some/judge"}, "revision": "x"}),
        ("me", {"revision": "scripted-1"}),
    ],
)
def test_judge_rejects_its_own_model_unless_allowed(annotator, author, tmp_path):
    pairs = make_pairs(2, annotator=annotator)
    judge, backend = make_judge(lambda chat: rating_answer(5), tmp_path)
    with pytest.raises(UserError, match="wrote these explanations itself"):
        judge_pointwise(judge, pairs, author)
    assert backend.requests == []
    lenient_judge, _ = make_judge(lambda chat: rating_answer(5), tmp_path, same_model="allow")
    assert len(judge_pointwise(lenient_judge, pairs, author)) == 2


def test_judge_accepts_outputs_of_another_model(tmp_path):
    author = {"settings": {"model": "http:http://127.0.0.1/v1#some/other"}, "revision": "x"}
    judge, _ = make_judge(lambda chat: rating_answer(5), tmp_path)
    assert len(judge_pointwise(judge, make_pairs(2, annotator="builtin"), author)) == 2


def test_judge_opens_any_backend_by_name(tmp_path):
    judge = Judge.open(JudgeSettings(model="echo:3"), tmp_path)
    judgements = judge_pointwise(judge, make_pairs(5))
    ratings = [m for j in judgements for m in j.ratings.values()]
    assert {m.status for m in ratings} == {Status.OK}
    assert all(1 <= m.score <= 5 and sum(m.probs.values()) == pytest.approx(1) for m in ratings)
    assert len({m.score for m in ratings}) > 5
    with pytest.raises(UserError, match="no backend named"):
        Judge.open(JudgeSettings(model="ecko"), tmp_path)


def test_judge_rejects_prompts_of_another_kind(tmp_path):
    judge, _ = make_judge(lambda chat: rating_answer(5), tmp_path, criteria=("predict/full",))
    with pytest.raises(UserError, match="not a judge prompt"):
        judge_pointwise(judge, make_pairs(1))
    judge, _ = make_judge(lambda chat: rating_answer(5), tmp_path, criteria=("judge/pair",))
    with pytest.raises(UserError, match="are not numbers"):
        judge_pointwise(judge, make_pairs(1))


def test_constant_judge_has_no_human_agreement(tmp_path):
    judge, _ = make_judge(lambda chat: rating_answer(5), tmp_path, **FOCUS)
    human_ratings = read_human_ratings(
        write_human_ratings(tmp_path / "human.jsonl", [1, 2, 3, 4, 5, 5])
    )
    values = pointwise_metrics(judge_pointwise(judge, make_pairs(6)), human_ratings)
    assert values["focus"].value == 5
    assert values["kappa.focus"].value == pytest.approx(0)
    assert values["alpha.focus"].value < 0
    assert "kappa 0.00 with human raters on 6 rows" in values["focus"].note


def test_judge_equal_to_human_ratings_has_full_agreement(tmp_path):
    human_scores = [1, 2, 3, 4, 5, 3]
    judge, _ = make_judge(
        lambda chat: rating_answer(
            next(m for i, m in enumerate(human_scores) if f"number {i}." in chat)
        ),
        tmp_path,
        criteria=("judge/focus", "judge/fluency"),
    )
    human_ratings = read_human_ratings(write_human_ratings(tmp_path / "a.jsonl", human_scores))
    human_ratings += read_human_ratings(
        write_human_ratings(tmp_path / "b.jsonl", human_scores[:3], rater="bob")
    )
    values = pointwise_metrics(judge_pointwise(judge, make_pairs(8 - 2)), human_ratings)
    assert values["kappa.focus"].value == values["alpha.focus"].value == pytest.approx(1)
    assert values["kappa.focus"].n == 6
    assert "uncalibrated" not in values["focus"].note
    assert values["fluency"].note.endswith("uncalibrated")
    assert "kappa.fluency" not in values


def test_judge_metrics_are_uncalibrated_without_human_ratings(tmp_path):
    judge, _ = make_judge(lambda chat: rating_answer(5), tmp_path)
    values = pointwise_metrics(judge_pointwise(judge, make_pairs(3)))
    assert list(values) == [
        *["correctness", "focus", "evidence", "fluency", "explained", "unparsed", "failed"]
    ]
    assert all(v.note.endswith("uncalibrated") for v in values.values())
    other_ratings = read_human_ratings(
        write_human_ratings(tmp_path / "h.jsonl", [1, 2], criterion="charm")
    )
    assert pointwise_metrics(judge_pointwise(judge, make_pairs(3)), other_ratings) == values


def test_read_human_ratings_rejects_broken_file(tmp_path):
    path = write_human_ratings(tmp_path / "h.jsonl", [1])
    path.write_text(path.read_text() + '{"post": "2"}\n')
    with pytest.raises(UserError, match=r"h\.jsonl:2"):
        read_human_ratings(path)
    with pytest.raises(UserError, match="there is no file"):
        read_human_ratings(tmp_path / "none.jsonl")


def test_judge_interval_clusters_rows_of_one_image(tmp_path):
    judge, _ = make_judge(
        lambda chat: rating_answer(5 if "number 0." in chat or "number 1." in chat else 1),
        tmp_path,
        **FOCUS,
    )
    value = pointwise_metrics(judge_pointwise(judge, make_pairs(12)))["focus"]
    # Six images of two rows each, one with 5 and five with 1.
    mean = (2 * 5 + 10 * 1) / 12
    residuals = [2 * (5 - mean)] + 5 * [2 * (1 - mean)]
    sd = sum(r * r for r in residuals) ** 0.5 / 12
    half_width = 2.5705818366147 * sd * (6 / 5) ** 0.5
    assert value.value == pytest.approx(mean)
    assert (value.low, value.high) == pytest.approx((mean - half_width, mean + half_width))
    assert value.method == "cluster-robust with t of 5 df"
