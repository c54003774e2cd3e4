"""Pairwise judgements in both orders: position bias is exposed and wins nothing."""

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation.llm_judge import (
    PairwiseJudgement,
    judge_pairwise,
    pairwise_metrics,
    save_judgements,
)
from gen_msa.jsonl import read
from tests.evaluation.llm_judge.scripted_judge import make_judge, make_pair, make_pairs


def run_pairwise(respond, root, count=6, **settings):
    judge, backend = make_judge(respond, root, **settings)
    judgements = judge_pairwise(
        judge, make_pairs(count, "Good", annotator="me"), make_pairs(count, "Bad", annotator="you")
    )
    return judgements, backend


def prefer_good(chat):
    """Choose by content: `Good` beats `Bad` in either position."""
    return "Better: A" if chat.index("Good, number") < chat.index("Bad, number") else "Better: B"


def test_pairwise_exposes_position_bias(tmp_path):
    judgements, backend = run_pairwise(lambda chat: "Better: A\nWhy: it came first.", tmp_path)
    assert len(backend.requests) == 12
    assert {d.winner for d in judgements} == {"tie"}
    values = pairwise_metrics(judgements)
    assert values["swap_agreement"].value == 0
    assert values["first"].value == 1
    assert (values["a"].value, values["b"].value, values["tie"].value) == (0, 0, 1)


def test_pairwise_content_judge_agrees_across_orders(tmp_path):
    judgements, _ = run_pairwise(prefer_good, tmp_path, count=12)
    assert {d.winner for d in judgements} == {"a"}
    values = pairwise_metrics(judgements)
    assert (values["a"].value, values["swap_agreement"].value, values["first"].value) == (1, 1, 0.5)
    assert (values["a"].low, values["a"].method) == (
        pytest.approx(0.025 ** (1 / 6)),
        "cluster-robust Wilson form with t of 5 df",
    )
    assert all(v.note == "uncalibrated" for v in values.values())


def test_pairwise_swaps_the_same_two_explanations(tmp_path):
    _, backend = run_pairwise(prefer_good, tmp_path, count=1)
    a_first_prompt, b_first_prompt = (r.chat.as_text() for r in backend.requests)
    assert "<<<REASON-A\nGood, number 0.\nREASON-A>>>" in a_first_prompt
    assert "<<<REASON-A\nBad, number 0.\nREASON-A>>>" in b_first_prompt
    assert {r.temperature for r in backend.requests} == {0}


def test_pairwise_counts_unparsed_answers_without_winner(tmp_path):
    def respond(chat):
        return "Better: both, really" if "number 0." in chat else prefer_good(chat)

    judgements, _ = run_pairwise(respond, tmp_path, count=4)
    assert [d.winner for d in judgements] == ["unparsed", "a", "a", "a"]
    assert judgements[0].a_first.raw == "Better: both, really"
    values = pairwise_metrics(judgements)
    assert sum(values[k].value for k in ("a", "b", "tie", "unparsed")) == 1
    assert values["unparsed"].value == 1 / 4
    assert (values["swap_agreement"].value, values["swap_agreement"].n) == (1, 3)


def test_pairwise_tie_in_one_order_only_is_disagreement(tmp_path):
    judgements, _ = run_pairwise(lambda chat: "Better: tie", tmp_path)
    assert pairwise_metrics(judgements)["swap_agreement"].value == 1
    assert pairwise_metrics(judgements)["first"].value is None

    def unsure(chat):
        return "Better: A" if chat.index("Good") < chat.index("Bad") else "Better: tie"

    judgements, _ = run_pairwise(unsure, tmp_path)
    assert {d.winner for d in judgements} == {"tie"}
    assert pairwise_metrics(judgements)["swap_agreement"].value == 0


def test_pairwise_skips_rows_without_both_explanations(tmp_path):
    judge, _ = make_judge(prefer_good, tmp_path)
    judgements = judge_pairwise(
        judge,
        [make_pair(0, "Good, number 0."), make_pair(1, None)],
        [make_pair(0, "Bad, number 0."), make_pair(1, "Bad, number 1.")],
    )
    assert [d.post for d in judgements] == ["0"]
    assert pairwise_metrics([])["a"].value is None


def test_pairwise_rejects_uneven_rows_wrong_prompt_and_own_model(tmp_path):
    judge, _ = make_judge(prefer_good, tmp_path)
    with pytest.raises(ValueError, match="not the same"):
        judge_pairwise(judge, make_pairs(2), make_pairs(3))
    with pytest.raises(UserError, match="wrote these explanations itself"):
        judge_pairwise(judge, make_pairs(1), make_pairs(1, annotator="vllm:some/judge"))
    other_judge, _ = make_judge(prefer_good, tmp_path, pairwise_prompt="judge/focus")
    with pytest.raises(UserError, match="A, B, tie"):
        judge_pairwise(other_judge, make_pairs(1), make_pairs(1))


def test_pairwise_judgements_round_trip_through_file(tmp_path):
    judgements, _ = run_pairwise(prefer_good, tmp_path)
    save_judgements(judgements, tmp_path / "duels.jsonl")
    assert list(read(tmp_path / "duels.jsonl", PairwiseJudgement)) == judgements
