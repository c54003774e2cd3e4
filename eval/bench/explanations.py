"""What it costs to measure explanations, against the named packages called plainly, row by row.

    OMP_NUM_THREADS=1 python eval/bench/explanations.py [bleu rouge chrf …] [--rows 10000] [--quick]

Made-up explanations of about 40 words, each held against its own reference, all different. A
family: rows and figures, as an evaluation asks for them. A peer: one corpus figure and one figure
a row from sacrebleu, or the four scores a row from rouge-score with its stemmer. CPU time of one
process, families and peers in turn; median. Words are stemmed and texts cut anew in every run.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from gen_msa.metrics import Pair, metrics
from gen_msa.metrics._reference_based import tokenize as cut
from gen_msa.metrics.chrf import _cached_ngrams
from gen_msa.types import Aspect, Opinion, Polarity, Post

NAMES = ("bleu", "rouge", "chrf")
TARGET_SECONDS = 20.0
"""Seconds for 10,000 explanations through `NAMES`, on one core."""
ROUGE = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def synthetic_pairs(rows: int, length: int) -> list[Pair]:
    """Explanations that keep about 0.6 of their reference's words. Seed 0."""
    rng = random.Random(0)
    stems = ["".join(rng.choices("abdefgiklmnoprstu", k=rng.randint(1, 8))) for _ in range(3000)]
    vocabulary = [s + rng.choice(["", "", "s", "ed", "ing", ","]) for s in stems]
    pairs = []
    for i in range(rows):
        gold = rng.choices(vocabulary, k=rng.randint(length // 2, length * 3 // 2))
        generated = [w if rng.random() < 0.6 else rng.choice(vocabulary) for w in gold]
        term, quote = gold[0], " ".join(gold[:4])
        aspect = Aspect(term=term, start=0)
        post = Post(id=str(i), text=" ".join(gold[:12]), aspects=(aspect,))
        explanation = f'{term} is good: "{quote}" {" ".join(generated)}.'
        texts = {"gold": " ".join(gold) + ".", "model": explanation}
        opinions = [
            Opinion(
                annotator=annotator, aspect=aspect, polarity=Polarity.POSITIVE, explanation=text
            )
            for annotator, text in texts.items()
        ]
        pairs.append(
            Pair(post, opinions[0], opinions[1], str(i), {"prompt": "Why?", "caption": quote})
        )
    return pairs


def by_gen_msa(name: str, pairs: Sequence[Pair]) -> object:
    """Every figure of one family, from nothing."""
    cut.cache_clear()
    _cached_ngrams.cache_clear()
    family: Any = metrics[name]()
    if not hasattr(family, "row_statistics"):
        return family.measure(pairs)
    return family.compute(family.row_statistics(pairs).sum(axis=0))


def peer(name: str, pairs: Sequence[Pair]) -> object:
    """Compute the same metrics with the package itself, row by row."""
    texts = [(p.explanation, p.reference_explanation) for p in pairs]
    if name == "rouge":
        scorer = RougeScorer(ROUGE, use_stemmer=True)
        return [scorer.score(gold, prediction) for prediction, gold in texts]
    corpus_scorer, sentence_scorer = (
        (BLEU(), BLEU(effective_order=True)) if name == "bleu" else (CHRF(), CHRF())
    )
    rows = [sentence_scorer.sentence_score(prediction, [gold]) for prediction, gold in texts]
    prediction, gold = zip(*texts, strict=True)
    return corpus_scorer.corpus_score(list(prediction), [list(gold)]), rows


def seconds(job: Callable[[str, Sequence[Pair]], object], name: str, pairs: list[Pair]) -> float:
    """CPU time of this process."""
    began = time.process_time()
    job(name, pairs)
    return time.process_time() - began


def measure(names: Sequence[str], pairs: list[Pair], runs: int) -> dict[str, dict[str, Any]]:
    """Median CPU seconds of each family and of its peer, where it has one."""
    seconds_by_family: dict[str, dict[str, Any]] = {}
    for name in names:
        jobs = {"ours": by_gen_msa} | ({"peer": peer} if name in NAMES else {})
        by_gen_msa(name, pairs[:2])  # what is imported on first use is no part of the work
        laps = [{k: seconds(job, name, pairs) for k, job in jobs.items()} for _ in range(runs)]
        seconds_by_family[name] = {
            k: round(statistics.median(lap[k] for lap in laps), 3) for k in jobs
        }
        if "peer" in jobs:
            ratios = [lap["peer"] / lap["ours"] for lap in laps]
            seconds_by_family[name]["faster_by"] = round(statistics.median(ratios), 2)
    return seconds_by_family


def main() -> None:
    """Print one JSON line and a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=[], help=f"families; else {' '.join(NAMES)}")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--length", type=int, default=40, help="words of a reference, about")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="200 rows, once")
    options = parser.parse_args()
    rows, runs = (200, 1) if options.quick else (options.rows, options.runs)
    names = options.names or list(NAMES)
    seconds_by_family = measure(names, synthetic_pairs(rows, options.length), runs)
    total = round(sum(f["ours"] for f in seconds_by_family.values()), 3)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    report: dict[str, Any] = {"machine": machine, "rows": rows, "length": options.length}
    report |= {"runs": runs, "families": seconds_by_family, "seconds": total}
    if rows == 10_000 and set(names) == set(NAMES):
        report["within_mark"] = total <= TARGET_SECONDS
    print(json.dumps(report))
    for name, family_seconds in seconds_by_family.items():
        print(f"{name:12} {family_seconds['ours']:8.2f} s", end="")
        print(f"   peer {family_seconds['peer']:8.2f} s" if "peer" in family_seconds else "")


if __name__ == "__main__":
    main()
