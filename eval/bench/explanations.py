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
from gen_msa.metrics._words import words as cut
from gen_msa.metrics.chrf import _known
from gen_msa.types import Aspect, Opinion, Polarity, Post

NAMES = ("bleu", "rouge", "chrf")
MARK = 20.0
"""Seconds for 10,000 explanations through `NAMES`, on one core."""
ROUGE = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def made(rows: int, length: int) -> list[Pair]:
    """Explanations that keep about 0.6 of their reference's words. Seed 0."""
    rng = random.Random(0)
    stems = ["".join(rng.choices("abdefgiklmnoprstu", k=rng.randint(1, 8))) for _ in range(3000)]
    vocabulary = [s + rng.choice(["", "", "s", "ed", "ing", ","]) for s in stems]
    found = []
    for i in range(rows):
        gold = rng.choices(vocabulary, k=rng.randint(length // 2, length * 3 // 2))
        said = [w if rng.random() < 0.6 else rng.choice(vocabulary) for w in gold]
        term, quote = gold[0], " ".join(gold[:4])
        aspect = Aspect(term=term, start=0)
        post = Post(id=str(i), text=" ".join(gold[:12]), aspects=(aspect,))
        explanation = f'{term} is good: "{quote}" {" ".join(said)}.'
        texts = {"gold": " ".join(gold) + ".", "reader": explanation}
        both = [
            Opinion(by=by, aspect=aspect, polarity=Polarity.POSITIVE, explanation=text)
            for by, text in texts.items()
        ]
        found.append(Pair(post, both[0], both[1], str(i), {"prompt": "Why?", "caption": quote}))
    return found


def ours(name: str, pairs: Sequence[Pair]) -> object:
    """Every figure of one family, from nothing."""
    cut.cache_clear()
    _known.cache_clear()
    family: Any = metrics[name]()
    if not hasattr(family, "rows"):
        return family.measure(pairs)
    return family.values(family.rows(pairs).sum(axis=0))


def peer(name: str, pairs: Sequence[Pair]) -> object:
    """The same figures from the package itself, a row at a time."""
    texts = [(p.explanation, p.reference) for p in pairs]
    if name == "rouge":
        scorer = RougeScorer(ROUGE, use_stemmer=True)
        return [scorer.score(gold, said) for said, gold in texts]
    plain, alone = (BLEU(), BLEU(effective_order=True)) if name == "bleu" else (CHRF(), CHRF())
    rows = [alone.sentence_score(said, [gold]) for said, gold in texts]
    said, gold = zip(*texts, strict=True)
    return plain.corpus_score(list(said), [list(gold)]), rows


def seconds(job: Callable[[str, Sequence[Pair]], object], name: str, pairs: list[Pair]) -> float:
    """CPU time of this process."""
    began = time.process_time()
    job(name, pairs)
    return time.process_time() - began


def measure(names: Sequence[str], pairs: list[Pair], runs: int) -> dict[str, dict[str, Any]]:
    """Median CPU seconds of each family and of its peer, where it has one."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        jobs = {"ours": ours} | ({"peer": peer} if name in NAMES else {})
        ours(name, pairs[:2])  # what is imported on first use is no part of the work
        laps = [{k: seconds(job, name, pairs) for k, job in jobs.items()} for _ in range(runs)]
        found[name] = {k: round(statistics.median(lap[k] for lap in laps), 3) for k in jobs}
        if "peer" in jobs:
            ratios = [lap["peer"] / lap["ours"] for lap in laps]
            found[name]["faster_by"] = round(statistics.median(ratios), 2)
    return found


def main() -> None:
    """Print one JSON line and a table."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("names", nargs="*", default=[], help=f"families; else {' '.join(NAMES)}")
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--length", type=int, default=40, help="words of a reference, about")
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--quick", action="store_true", help="200 rows, once")
    options = asked.parse_args()
    rows, runs = (200, 1) if options.quick else (options.rows, options.runs)
    names = options.names or list(NAMES)
    found = measure(names, made(rows, options.length), runs)
    total = round(sum(f["ours"] for f in found.values()), 3)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    told: dict[str, Any] = {"machine": machine, "rows": rows, "length": options.length}
    told |= {"runs": runs, "families": found, "seconds": total}
    if rows == 10_000 and set(names) == set(NAMES):
        told["within_mark"] = total <= MARK
    print(json.dumps(told))
    for name, figures in found.items():
        print(f"{name:12} {figures['ours']:8.2f} s", end="")
        print(f"   peer {figures['peer']:8.2f} s" if "peer" in figures else "")


if __name__ == "__main__":
    main()
