"""A job with gates: what passes is written with its provenance, what fails is kept apart, whole."""

import json
from collections import Counter

import pytest

from gen_msa.annotating import AnnotateSettings, annotate
from gen_msa.annotating._sieving import Failed
from gen_msa.annotating.summary import Summary, agreement
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.settings import load
from gen_msa.types import Example, Polarity
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import example as labelled

GATES = "gates={naming: {}, length: {}, quoting: {}, novelty: {most: 1.0}}"


def run(path, *given, ledger=False, gates=GATES):
    settings = load(AnnotateSettings, None, ["reader=echo", "cues={}", "chunk=7", gates, *given])
    out = path.with_name("out.jsonl")
    book = path.with_name("a.ledger") if ledger else None
    outcome = annotate(open_source(str(path)), out, settings, ledger_path=book)
    rows = [Example.model_validate_json(x) for x in out.read_text("utf-8").splitlines()]
    aside = outcome.rejected_file.read_text("utf-8").splitlines() if outcome.rejected_file else []
    return outcome, rows, [Failed.model_validate_json(x) for x in aside]


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.train.jsonl", map(post, range(40)))


@pytest.fixture
def gold(tmp_path):
    path = tmp_path / "gold.train.jsonl"
    path.write_text("".join(labelled(i).model_dump_json() + "\n" for i in range(20)))
    return path


def asked(i):
    return {(f"p{i}", a) for a in post(i).aspects}


def test_every_question_is_accepted_once_or_excluded_with_all_its_answers(posts):
    outcome, rows, failed = run(posts)
    accepted = [(r.post.id, o.aspect) for r in rows for o in r.opinions]
    excluded = {(f.post, f.opinion.aspect) for f in failed if f.excluded}
    assert len(set(accepted)) == len(accepted) > 10
    assert excluded
    assert set(accepted) & excluded == set()
    assert set(accepted) | excluded == set().union(*map(asked, range(40)))
    assert [r.post.id for r in rows] == [f"p{i}" for i in range(40)]
    s = outcome.summary
    assert (s.accepted, s.excluded, s.answers) == (
        len(accepted), len(excluded), len(accepted) + len(failed),
    )  # fmt: skip
    assert s.questions == s.accepted + s.excluded == 80
    assert outcome.counts.failed == len(failed)
    assert outcome.counts.rejected == 0


def test_what_is_accepted_carries_its_provenance_and_what_fails_its_reasons(posts):
    _, rows, failed = run(posts)
    for o in (o for r in rows for o in r.opinions):
        assert o.how["gates"] == "naming, length, quoting, novelty"
        assert o.how["prompt"].startswith("reader/full@")
        assert o.how["teacher"] == "echo echo-1:"
        assert o.how["seed"] == str(int(o.how["attempt"]) - 1)
        assert not [k for k in o.how if k.startswith("failed.")]
    for f in failed:
        assert f.reason
        assert f.opinion.raw
        why = {k: v for k, v in f.opinion.how.items() if k.startswith("failed.")}
        assert all(f"{k.removeprefix('failed.')}: {v}" in f.reason for k, v in why.items())


def test_a_failed_answer_is_asked_again_with_another_seed_at_most_so_often(posts):
    once, _, _ = run(posts, "retries=0")
    often, rows, failed = run(posts, "retries=3")
    assert often.summary.accepted > once.summary.accepted
    assert once.summary.retried == 0
    assert often.summary.retried == sum(o.how["attempt"] != "1" for r in rows for o in r.opinions)
    tries = [int(f.opinion.how["attempt"]) for f in failed]
    assert max(tries) == 4
    by_question: dict[object, list[Failed]] = {}
    for f in failed:
        by_question.setdefault((f.post, f.opinion.aspect), []).append(f)
    for own in by_question.values():
        whose = sorted(int(f.opinion.how["attempt"]) for f in own)
        assert whose == list(range(1, len(own) + 1))
        late = any("failed.novelty" in f.opinion.how for f in own)
        assert len(own) == 4 or late or not own[0].excluded


def test_without_its_gates_a_job_keeps_all_that_could_be_read(posts):
    outcome, rows, failed = run(posts, gates="gates={}")
    assert failed == []
    assert sum(len(r.opinions) for r in rows) == 80
    assert outcome.rejected_file is None


def test_gates_are_counted(posts):
    outcome, _, failed = run(posts)
    counts = outcome.summary.gates
    assert list(counts) == ["answer", "naming", "length", "quoting", "novelty"]
    assert counts["answer"].shown == outcome.summary.answers
    for name in ("naming", "novelty"):
        refused = sum(f"failed.{name}" in f.opinion.how for f in failed)
        assert counts[name].refused == refused > 0
    # What a gate of words refuses, a gate of the file is not shown.
    assert counts["novelty"].shown == counts["naming"].shown - counts["naming"].refused


def test_an_answer_cut_at_the_token_limit_is_never_kept(posts, tmp_path):
    script = tmp_path / "s.jsonl"
    cut = {"text": "Sentiment: positive\nExplanation: The scr", "finish_reason": "length"}
    both = [{"match": "#2", **cut}, {"match": "#3", **cut, "form": "slot"}]
    script.write_text("".join(json.dumps(x) + "\n" for x in both))
    _, rows, failed = run(posts, f"backend.script={script}", "limit=5", gates="gates={}")
    assert [len(r.opinions) for r in rows] == [2, 2, 0, 0, 2]
    assert {f.post for f in failed} == {"p2", "p3"}
    assert all("length" in f.reason and f.excluded for f in failed)


def test_another_number_of_workers_and_another_run_write_the_same_bytes(posts):
    out = posts.with_name("out.jsonl")
    seen = set()
    for given in (["workers=1"], ["workers=2"], ["chunk=9"]):
        run(posts, *given, "gates.agreement={k: 2, least: 0.5}")
        seen.add((out.read_bytes(), out.with_suffix(".rejected.jsonl").read_bytes()))
    first, _, _ = run(posts, ledger=True)
    before = out.read_bytes()
    again, _, _ = run(posts, ledger=True)
    assert again.counts.repeated == 40
    assert out.read_bytes() == before
    assert again.summary.model_copy(
        update={"seconds": 0, "repeated_posts": 0}
    ) == first.summary.model_copy(update={"seconds": 0})
    assert len(seen) == 1


def test_another_gate_or_seed_is_asked_anew_and_a_gate_of_the_file_is_not(posts):
    assert run(posts, ledger=True)[0].counts.repeated == 0
    assert run(posts, "gates.novelty={most: 0.5}", ledger=True)[0].counts.repeated == 40
    assert run(posts, "gates.length={max_words: 9}", ledger=True)[0].counts.repeated == 0
    assert run(posts, "seed=5", ledger=True)[0].counts.repeated == 0


def test_tokens_of_all_answers_and_votes_are_counted_and_priced(posts):
    plain, _, _ = run(posts, "retries=0", "limit=4", gates="gates={}")
    votes = "gates={agreement: {k: 3, least: 0.1}}"
    voted, _, _ = run(posts, "retries=0", "limit=4", "prices={input: 2, output: 10}", gates=votes)
    assert plain.summary.money is None
    assert voted.summary.prompt_tokens == 4 * plain.summary.prompt_tokens
    assert voted.summary.money == pytest.approx(
        (voted.summary.prompt_tokens * 2 + voted.summary.answer_tokens * 10) / 1e6
    )


def test_the_summary_lies_beside_the_output_and_holds_gold_against_both(gold):
    outcome, rows, _ = run(gold, "aspects=given")
    text = gold.with_name("out.summary.json").read_text("utf-8")
    assert Summary.model_validate_json(text) == outcome.summary
    s = outcome.summary
    assert s.first_answers.n == 40
    assert s.accepted_answers.n == s.accepted
    gold_of = {(r.post.id, o.aspect): o.polarity for r in rows for o in r.said_by("gold")}
    said = [(r.post.id, o) for r in rows for o in r.said_by("echo")]
    right = [o.polarity is gold_of[post_id, o.aspect] for post_id, o in said]
    assert s.accepted_answers.accuracy == pytest.approx(sum(right) / len(right))
    assert sum(map(sum, (x.values() for x in s.first_answers.confusion.values()))) == 40


def test_kappa_by_hand():
    pos, neg = Polarity.POSITIVE, Polarity.NEGATIVE
    cells = {(pos, pos): 20, (pos, neg): 5, (neg, pos): 10, (neg, neg): 15}
    found = agreement(Counter(cells))
    assert found.accuracy == 0.7
    assert found.kappa == pytest.approx((0.7 - 0.5) / 0.5)
    assert agreement(Counter({(pos, pos): 3})).kappa is None
    assert agreement(Counter()) is None


def test_gold_guides_on_train_rows_only_and_its_labels_are_what_is_explained(gold):
    outcome, rows, _ = run(gold, "guided=true", "prompt=teacher/rationale", gates="gates={}")
    assert outcome.summary.guided
    for r in rows:
        told = {o.aspect: o.polarity for o in r.said_by("gold")}
        said = r.said_by("echo")
        assert {o.aspect: o.polarity for o in said} == told
        assert all(o.how["prompt"].startswith("teacher/rationale_guided@") for o in said)
        assert all(o.how["guided"] and o.probs is None for o in said)
    for name in ("gold.dev.jsonl", "gold.test.jsonl", "gold.jsonl"):
        other = gold.with_name(name)
        other.write_bytes(gold.read_bytes())
        with pytest.raises(UserError, match="not named as a train split"):
            run(other, "guided=true", "prompt=teacher/rationale")


def test_gold_is_not_shown_unless_it_guides(gold):
    """The same posts with and without gold get the same answers."""
    _, with_gold, _ = run(gold)
    bare = write_posts(gold.with_name("bare.jsonl"), (r.post for r in with_gold))
    _, without, _ = run(bare)
    assert [r.said_by("echo") for r in with_gold] == [r.said_by("echo") for r in without]


def test_a_context_with_the_label_in_sight_must_be_asked_for(gold):
    with pytest.raises(UserError, match="label_in_context=true, not guided"):
        run(gold, "guided=true", "prompt=teacher/context")
    with pytest.raises(UserError, match="is for the prompt teacher/context"):
        run(gold, "label_in_context=true", "prompt=teacher/rationale")
    _, rows, _ = run(gold, "label_in_context=true", "prompt=teacher/context", gates="gates={}")
    (prompt,) = {o.how["prompt"].partition("@")[0] for r in rows for o in r.said_by("echo")}
    assert prompt == "teacher/context_guided"
    with pytest.raises(UserError, match="asked nothing"):
        run(gold, "guided=true", f"reader=file:{gold}#gold", "prompt=teacher/rationale")
