"""Evaluate the builtin model on real posts, with and without what it is meant to use.

    GEN_MSA_DATA=... python eval/bench/builtin.py [--test] [--model builtin] [--only NAME ...]

Each row is one greedy run: accuracy with its Wilson interval and macro-F1 (an unread answer is
wrong), and of the explanations the share read, naming their aspect, and quoting verbatim. A pair
(with and without the cue, with and without the image) is compared on the same aspects: the
difference of accuracy with a bootstrap interval over posts. `--test` reads the test splits, which
is done once, when everything is decided; without it, dev. Killed runs go on with LEDGER=FILE.
"""

import argparse
import json
import os
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.finetuning.validation import explanation_scores
from gen_msa.metrics.labels import score_labels
from gen_msa.settings import load
from gen_msa.types import Example, Opinion, Polarity

SETTINGS = ["backend.dtype=bfloat16", "backend.batch_size=32"]
OVERRIDE_ADAPTER = "adapter_settings=override"
"""Captions of the split that is read, or no cue at all, are not what the adapter was saved with."""
LABEL_ONLY = ["max_new_tokens=1", OVERRIDE_ADAPTER]
CAPTIONS = (
    "cues={{syntax: {{max_words: 16}}, context: {{max_words: 32, files: ["
    "{{path: $GEN_MSA_DATA/{0}/captions/{1}.json, lead: caption}}, "
    "{{path: $GEN_MSA_DATA/{0}/face_descriptions/{1}.json, lead: '', "
    r"only: '(?:^|(?<=\. ))(?!There are|a person)[^.]+ with a \w+ expression'}}]}}}}"
)
SYNTAX = "cues={syntax: {max_words: 16}}"
REPLICATES = 2000


class Job(NamedTuple):
    """One row of the table."""

    source: str
    settings: list[str]
    without: list[str] | None = None
    """What is changed in the second run of a pair."""


def jobs(split: str) -> dict[str, Job]:
    """Return the jobs of one kind of split; MVSA-Single has no test split here."""
    twitter = ["aspects=given", OVERRIDE_ADAPTER]
    jobs_by_name = {
        "twitter2015": Job(
            f"twitter2015:{split}", [*twitter, CAPTIONS.format("twitter2015", split)]
        ),
        "mams cue": Job(f"mams:{split}", ["aspects=given", SYNTAX, *LABEL_ONLY], ["cues={}"]),
        "mams": Job(f"mams:{split}", ["aspects=given", SYNTAX, "limit=150", OVERRIDE_ADAPTER]),
    }
    if split == "dev":
        jobs_by_name["twitter2017"] = Job(
            "twitter2017:dev", [*twitter, CAPTIONS.format("twitter2017", "dev")]
        )
        overall = ["aspects=overall", "cues={}", OVERRIDE_ADAPTER]
        jobs_by_name["mvsa image"] = Job(
            "mvsa_single:dev", [*overall, *LABEL_ONLY], ["images=false"]
        )
        jobs_by_name["mvsa"] = Job("mvsa_single:dev", [*overall, "limit=150"])
    return jobs_by_name


Pair = tuple[str, Polarity, Opinion | None]
"""Post id, gold label, and the model's opinion of the same aspect."""


def run_job(job: Job, overrides: list[str], model: str, folder: Path) -> tuple[list[Pair], dict]:
    """Run one job; every aspect that has gold, and facts of the run."""
    settings = load(JobSettings, None, [f"model={model}", *SETTINGS, *job.settings, *overrides])
    out = folder / "opinions.jsonl"
    began, cpu = time.perf_counter(), time.process_time()
    cache_path = Path(os.environ["CACHE"]) if "CACHE" in os.environ else None
    outcome = annotate(open_examples(job.source), out, settings, cache_path=cache_path)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    facts = {
        "posts": outcome.counts.written,
        "rejected": outcome.counts.rejected,
        "opinions_per_second": round(outcome.counts.opinions / seconds, 2),
        "cpu_seconds": round(cpu),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "data_sha256": outcome.posts_sha256[:12],
    }
    return load_pairs(out, model), facts


def load_pairs(path: Path, annotator: str) -> list[Pair]:
    """Return gold label and answer of every aspect with a gold label."""
    gold_answer_pairs: list[Pair] = []
    for line in path.read_text("utf-8").splitlines():
        example = Example.model_validate_json(line)
        answers = {o.aspect: o for o in example.opinions_by(annotator)}
        for gold in example.opinions_by("gold"):
            if gold.polarity is not None:
                gold_answer_pairs.append((example.post.id, gold.polarity, answers.get(gold.aspect)))
    return gold_answer_pairs


def metrics_of_run(
    gold_answer_pairs: list[Pair], facts: dict, *, explanations: bool
) -> dict[str, object]:
    """Return the report of one run."""
    gold = [g for _, g, _ in gold_answer_pairs]
    label_scores = score_labels(
        gold,
        [o.polarity if o else None for _, _, o in gold_answer_pairs],
        [post for post, _, _ in gold_answer_pairs],
    )
    low, high = label_scores.interval or (0.0, 1.0)
    report: dict[str, object] = {
        "scored": label_scores.n,
        "read": round(label_scores.read_rate, 4),
        "accuracy": round(100 * label_scores.accuracy, 1),
        "accuracy_95": [round(100 * low, 1), round(100 * high, 1)],
        "macro_f1": round(100 * label_scores.macro_f1, 1),
        "f1": {str(p): round(100 * v, 1) for p, v in label_scores.f1.items()},
        "majority": round(100 * max(gold.count(p) for p in Polarity) / label_scores.n, 1),
        **facts,
    }
    if explanations:
        text_scores = explanation_scores([o for _, _, o in gold_answer_pairs])
        report |= {
            "explanations_read": round(text_scores.read_rate, 4),
            "aspect_named": text_scores.named_rate and round(text_scores.named_rate, 4),
            "quoting": text_scores.with_quotes,
            "quotes": text_scores.quotes,
            "quotes_verbatim": text_scores.verbatim_rate and round(text_scores.verbatim_rate, 4),
        }
    return report


def difference(with_: list[Pair], without: list[Pair]) -> dict[str, object]:
    """Accuracy with minus without, in points, and its 95 % interval (bootstrap over posts)."""
    by_post: dict[str, list[int]] = {}
    for (post, gold, a), (other, _, b) in zip(with_, without, strict=True):
        if post != other:
            raise SystemExit(f"the two runs differ in their posts: {post} and {other}")
        correct_difference = (a is not None and a.polarity == gold) - (
            b is not None and b.polarity == gold
        )
        by_post.setdefault(post, []).append(int(correct_difference))
    groups = [(sum(v), len(v)) for v in by_post.values()]
    rng = random.Random(0)
    resampled = sorted(
        100 * sum(d for d, _ in sampled_groups) / sum(n for _, n in sampled_groups)
        for sampled_groups in (rng.choices(groups, k=len(groups)) for _ in range(REPLICATES))
    )
    total = 100 * sum(d for d, _ in groups) / sum(n for _, n in groups)
    return {
        "points": round(total, 1),
        "points_95": [
            round(resampled[int(0.025 * REPLICATES)], 1),
            round(resampled[int(0.975 * REPLICATES)], 1),
        ],
    }


def main() -> None:
    """Run the rows that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--only", nargs="*", default=None)
    options = parser.parse_args()
    for name, job in jobs("test" if options.test else "dev").items():
        if options.only is not None and name not in options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            answer_pairs, facts = run_job(job, [], options.model, Path(folder))
            has_explanations = "max_new_tokens=1" not in job.settings
            header = {"row": name, "data": job.source, "model": options.model}
            print(
                json.dumps(
                    header | metrics_of_run(answer_pairs, facts, explanations=has_explanations)
                ),
                flush=True,
            )
            if job.without is None:
                continue
            other, facts = run_job(job, job.without, options.model, Path(folder))
            header["row"] = f"{name}, without ({' '.join(job.without)})"
            print(json.dumps(header | metrics_of_run(other, facts, explanations=False)), flush=True)
            print(json.dumps({"row": f"{name}, with - without"} | difference(answer_pairs, other)))


if __name__ == "__main__":
    main()
