"""A filtered job: accepted answers with their provenance, rejected ones kept in full."""

import json
from collections import Counter

import pytest

from gen_msa.annotation import AnnotateSettings, annotate
from gen_msa.annotation.filtered import FilteredAnswer
from gen_msa.annotation.summary import AnnotationSummary, gold_agreement
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.settings import load
from gen_msa.types import Example, Polarity
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import example as labelled

FILTERS = (
    "filters={mentions_aspect: {}, length: {}, verbatim_quotes: {}, "
    "near_duplicate: {max_similarity: 1.0}}"
)


def run(path, *overrides, use_cache=False, filters=FILTERS):
    settings = load(
        AnnotateSettings, None, ["model=echo", "cues={}", "chunk=7", filters, *overrides]
    )
    out = path.with_name("out.jsonl")
    cache_path = path.with_name("a.cache") if use_cache else None
    result = annotate(open_examples(str(path)), out, settings, cache_path=cache_path)
    rows = [Example.model_validate_json(x) for x in out.read_text("utf-8").splitlines()]
    rejected_lines = (
        result.rejected_file.read_text("utf-8").splitlines() if result.rejected_file else []
    )
    return result, rows, [FilteredAnswer.model_validate_json(x) for x in rejected_lines]


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.train.jsonl", map(post, range(40)))


@pytest.fixture
def gold(tmp_path):
    path = tmp_path / "gold.train.jsonl"
    path.write_text("".join(labelled(i).model_dump_json() + "\n" for i in range(20)))
    return path


def expected_questions(i):
    return {(f"p{i}", a) for a in post(i).aspects}


def test_every_question_is_accepted_once_or_excluded(posts):
    result, rows, filtered_out = run(posts)
    accepted = [(r.post.id, o.aspect) for r in rows for o in r.opinions]
    excluded = {(f.post, f.opinion.aspect) for f in filtered_out if f.excluded}
    assert len(set(accepted)) == len(accepted) > 10
    assert excluded
    assert set(accepted) & excluded == set()
    assert set(accepted) | excluded == set().union(*map(expected_questions, range(40)))
    assert [r.post.id for r in rows] == [f"p{i}" for i in range(40)]
    summary = result.summary
    assert (summary.accepted, summary.excluded, summary.answers) == (
        len(accepted), len(excluded), len(accepted) + len(filtered_out),
    )  # fmt: skip
    assert summary.questions == summary.accepted + summary.excluded == 80
    assert result.counts.filtered_out == len(filtered_out)
    assert result.counts.rejected == 0


def test_answers_record_provenance_and_rejection_reasons(posts):
    _, rows, filtered_out = run(posts)
    for o in (o for r in rows for o in r.opinions):
        assert o.provenance["filters"] == "mentions_aspect, length, verbatim_quotes, near_duplicate"
        assert o.provenance["prompt"].startswith("predict/full@")
        assert o.provenance["teacher"] == "echo echo-1:"
        assert o.provenance["seed"] == str(int(o.provenance["attempt"]) - 1)
        assert not [k for k in o.provenance if k.startswith("failed.")]
    for f in filtered_out:
        assert f.reason
        assert f.opinion.raw
        verdicts = {k: v for k, v in f.opinion.provenance.items() if k.startswith("failed.")}
        assert all(f"{k.removeprefix('failed.')}: {v}" in f.reason for k, v in verdicts.items())


def test_retries_use_new_seeds_up_to_the_limit(posts):
    without_retries, _, _ = run(posts, "retries=0")
    with_retries, rows, filtered_out = run(posts, "retries=3")
    assert with_retries.summary.accepted > without_retries.summary.accepted
    assert without_retries.summary.retried == 0
    assert with_retries.summary.retried == sum(
        o.provenance["attempt"] != "1" for r in rows for o in r.opinions
    )
    attempts = [int(f.opinion.provenance["attempt"]) for f in filtered_out]
    assert max(attempts) == 4
    by_question: dict[object, list[FilteredAnswer]] = {}
    for f in filtered_out:
        by_question.setdefault((f.post, f.opinion.aspect), []).append(f)
    for answers in by_question.values():
        attempt_numbers = sorted(int(f.opinion.provenance["attempt"]) for f in answers)
        assert attempt_numbers == list(range(1, len(answers) + 1))
        has_near_duplicate = any("failed.near_duplicate" in f.opinion.provenance for f in answers)
        assert len(answers) == 4 or has_near_duplicate or not answers[0].excluded


def test_job_without_filters_keeps_all_parsed_answers(posts):
    result, rows, filtered_out = run(posts, filters="filters={}")
    assert filtered_out == []
    assert sum(len(r.opinions) for r in rows) == 80
    assert result.rejected_file is None


def test_summary_counts_checked_and_rejected_per_filter(posts):
    result, _, filtered_out = run(posts)
    counts = result.summary.filters
    assert list(counts) == [
        "answer",
        "mentions_aspect",
        "length",
        "verbatim_quotes",
        "near_duplicate",
    ]
    assert counts["answer"].checked == result.summary.answers
    for name in ("mentions_aspect", "near_duplicate"):
        n_rejected = sum(f"failed.{name}" in f.opinion.provenance for f in filtered_out)
        assert counts[name].rejected == n_rejected > 0
    # What a text filter rejects, a file filter never sees.
    assert (
        counts["near_duplicate"].checked
        == counts["mentions_aspect"].checked - counts["mentions_aspect"].rejected
    )


def test_truncated_answer_is_never_accepted(posts, tmp_path):
    script = tmp_path / "s.jsonl"
    truncated = {"text": "Sentiment: positive\nExplanation: The scr", "finish_reason": "length"}
    script_lines = [{"match": "#2", **truncated}, {"match": "#3", **truncated, "form": "slot"}]
    script.write_text("".join(json.dumps(x) + "\n" for x in script_lines))
    _, rows, filtered_out = run(posts, f"backend.script={script}", "limit=5", filters="filters={}")
    assert [len(r.opinions) for r in rows] == [2, 2, 0, 0, 2]
    assert {f.post for f in filtered_out} == {"p2", "p3"}
    assert all("length" in f.reason and f.excluded for f in filtered_out)


def test_worker_count_and_rerun_do_not_change_output(posts):
    out = posts.with_name("out.jsonl")
    outputs = set()
    for overrides in (["workers=1"], ["workers=2"], ["chunk=9"]):
        run(posts, *overrides, "filters.self_consistency={n_samples: 2, min_agreement: 0.5}")
        outputs.add((out.read_bytes(), out.with_suffix(".rejected.jsonl").read_bytes()))
    first, _, _ = run(posts, use_cache=True)
    first_bytes = out.read_bytes()
    second, _, _ = run(posts, use_cache=True)
    assert second.counts.from_cache == 40
    assert out.read_bytes() == first_bytes
    assert second.summary.model_copy(
        update={"seconds": 0, "cached_posts": 0}
    ) == first.summary.model_copy(update={"seconds": 0})
    assert len(outputs) == 1


def test_cache_misses_on_new_seed_or_filter_but_not_file_filter(posts):
    assert run(posts, use_cache=True)[0].counts.from_cache == 0
    assert (
        run(posts, "filters.near_duplicate={max_similarity: 0.5}", use_cache=True)[
            0
        ].counts.from_cache
        == 40
    )
    assert run(posts, "filters.length={max_words: 9}", use_cache=True)[0].counts.from_cache == 0
    assert run(posts, "seed=5", use_cache=True)[0].counts.from_cache == 0


def test_tokens_of_answers_and_votes_are_counted_and_priced(posts):
    without_votes, _, _ = run(posts, "retries=0", "limit=4", filters="filters={}")
    vote_filter = "filters={self_consistency: {n_samples: 3, min_agreement: 0.1}}"
    with_votes, _, _ = run(
        posts, "retries=0", "limit=4", "prices={input: 2, output: 10}", filters=vote_filter
    )
    assert without_votes.summary.cost is None
    assert with_votes.summary.prompt_tokens == 4 * without_votes.summary.prompt_tokens
    assert with_votes.summary.cost == pytest.approx(
        (with_votes.summary.prompt_tokens * 2 + with_votes.summary.answer_tokens * 10) / 1e6
    )


def test_summary_file_compares_answers_with_gold(gold):
    result, rows, _ = run(gold, "aspects=given")
    text = gold.with_name("out.summary.json").read_text("utf-8")
    assert AnnotationSummary.model_validate_json(text) == result.summary
    summary = result.summary
    assert summary.first_answers.n == 40
    assert summary.accepted_answers.n == summary.accepted
    gold_labels = {(r.post.id, o.aspect): o.polarity for r in rows for o in r.opinions_by("gold")}
    predictions = [(r.post.id, o) for r in rows for o in r.opinions_by("echo")]
    is_correct = [o.polarity is gold_labels[post_id, o.aspect] for post_id, o in predictions]
    assert summary.accepted_answers.accuracy == pytest.approx(sum(is_correct) / len(is_correct))
    assert sum(map(sum, (x.values() for x in summary.first_answers.confusion.values()))) == 40


def test_gold_agreement_computes_accuracy_and_kappa():
    pos, neg = Polarity.POSITIVE, Polarity.NEGATIVE
    cells = {(pos, pos): 20, (pos, neg): 5, (neg, pos): 10, (neg, neg): 15}
    scores = gold_agreement(Counter(cells))
    assert scores.accuracy == 0.7
    assert scores.kappa == pytest.approx((0.7 - 0.5) / 0.5)
    assert gold_agreement(Counter({(pos, pos): 3})).kappa is None
    assert gold_agreement(Counter()) is None


def test_gold_guidance_needs_train_split_and_keeps_gold_labels(gold):
    result, rows, _ = run(gold, "guided=true", "prompt=teacher/rationale", filters="filters={}")
    assert result.summary.guided
    for r in rows:
        gold_labels = {o.aspect: o.polarity for o in r.opinions_by("gold")}
        opinions = r.opinions_by("echo")
        assert {o.aspect: o.polarity for o in opinions} == gold_labels
        assert all(o.provenance["prompt"].startswith("teacher/rationale_guided@") for o in opinions)
        assert all(o.provenance["guided"] and o.probs is None for o in opinions)
    for name in ("gold.dev.jsonl", "gold.test.jsonl", "gold.jsonl"):
        renamed_copy = gold.with_name(name)
        renamed_copy.write_bytes(gold.read_bytes())
        with pytest.raises(UserError, match="not named as a train split"):
            run(renamed_copy, "guided=true", "prompt=teacher/rationale")


def test_gold_is_hidden_unless_guided(gold):
    """The same posts with and without gold get the same answers."""
    _, with_gold, _ = run(gold)
    path_without_gold = write_posts(gold.with_name("bare.jsonl"), (r.post for r in with_gold))
    _, without_gold, _ = run(path_without_gold)
    assert [r.opinions_by("echo") for r in with_gold] == [
        r.opinions_by("echo") for r in without_gold
    ]


def test_label_in_context_must_be_enabled_explicitly(gold):
    with pytest.raises(UserError, match="label_in_context=true, not guided"):
        run(gold, "guided=true", "prompt=teacher/context")
    with pytest.raises(UserError, match="is for the prompt teacher/context"):
        run(gold, "label_in_context=true", "prompt=teacher/rationale")
    _, rows, _ = run(gold, "label_in_context=true", "prompt=teacher/context", filters="filters={}")
    (prompt,) = {
        o.provenance["prompt"].partition("@")[0] for r in rows for o in r.opinions_by("echo")
    }
    assert prompt == "teacher/context_guided"
    with pytest.raises(UserError, match="takes no prompt"):
        run(gold, "guided=true", f"model=recorded:{gold}#gold", "prompt=teacher/rationale")
