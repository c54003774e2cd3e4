"""What syntax cues cost, and whether they tell the aspects of a sentence apart.

    GEN_MSA_DATA=FOLDER python eval/bench/cues.py [--sentences 5000] [--runs 7]

Speed: sentences of MAMS (train, then dev, then again from the first) through the cue source
`syntax`, against a bare `nlp.pipe` with the same components, at spaCy's batch size and at that of
the cues. All read every chunk of 256 in turn, in one process; CPU time, median over the runs.

Apart: of the sentences with a negative and a positive aspect, in how many the cues of every such
pair differ; also when the words of both aspects are removed, so that only the words about them
counts.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, islice, product
from typing import Any

from gen_msa.cues.parsing import spacy_pipeline
from gen_msa.cues.syntax import SyntaxCues, SyntaxOptions
from gen_msa.data import open_examples
from gen_msa.types import Aspect, Cue, Example, Polarity, Post

CHUNK = 256
SPEED = ("mams:train", "mams:dev")
CONTRAST_CORPORA = (*SPEED, "semeval14_laptops:train", "semeval14_restaurants:train")


def examples(name: str) -> Iterator[Example]:
    """Return the examples of a corpus without its rejected rows."""
    return (row for row in open_examples(name).rows() if isinstance(row, Example))


def speed(sentences: int, runs: int) -> dict[str, Any]:
    """Sentences a second of CPU time, both ways, and their ratio."""
    corpus_posts = [e.post for e in chain.from_iterable(map(examples, SPEED))]
    posts = list(islice(cycle(corpus_posts), sentences))
    nlp = spacy_pipeline.load_pipeline(spacy_pipeline.MODEL)
    source = SyntaxCues(SyntaxOptions())

    def bare(chunk: Sequence[Post], size: int | None = None) -> None:
        for _ in nlp.pipe(
            [p.text for p in chunk], disable=spacy_pipeline.DISABLED_COMPONENTS, batch_size=size
        ):
            pass

    methods: dict[str, Callable[[Sequence[Post]], object]] = {
        "bare": bare,
        "same_batch": lambda chunk: bare(chunk, spacy_pipeline.BATCH_SIZE),
        "cues": source.cues,
    }
    cpu_seconds(posts[:CHUNK], methods)
    times = [cpu_seconds(posts, methods) for _ in range(runs)]
    per_s = {
        method: round(len(posts) / statistics.median(t[method] for t in times))
        for method in methods
    }
    ratios = [t["bare"] / t["cues"] for t in times]
    same_batch_ratios = [t["same_batch"] / t["cues"] for t in times]
    return {
        "sentences": len(posts),
        "cues": sum(len(p.aspects) for p in posts),
        "runs": runs,
        "components": [c for c in nlp.pipe_names if c not in spacy_pipeline.DISABLED_COMPONENTS],
        "per_s": per_s,
        "throughput": round(statistics.median(ratios), 4),
        "throughput_same_batch": round(statistics.median(same_batch_ratios), 4),
        "throughput_runs": [round(r, 4) for r in ratios],
    }


def cpu_seconds(
    posts: Sequence[Post], methods: dict[str, Callable[[Sequence[Post]], object]]
) -> dict[str, float]:
    """CPU seconds of each way over all chunks; who goes first takes turns."""
    spent = dict.fromkeys(methods, 0.0)
    for round_index, offset in enumerate(range(0, len(posts), CHUNK)):
        for method in islice(
            cycle(methods), round_index % len(methods), round_index % len(methods) + len(methods)
        ):
            began = time.process_time()
            methods[method](posts[offset : offset + CHUNK])
            spent[method] += time.process_time() - began
    return spent


def contrast(name: str, options: SyntaxOptions) -> dict[str, Any]:
    """In how many contrastive sentences the cues of opposite aspects differ."""
    contrastive = [(e, pairs) for e in examples(name) if (pairs := opposites(e))]
    cue_rows = SyntaxCues(options).cues([e.post for e, _ in contrastive])
    differ = content = 0
    sources: set[str] = set()
    for (example, pairs), cues in zip(contrastive, cue_rows, strict=True):
        by_aspect = dict(zip(example.post.aspects, cues, strict=True))
        sources |= {c.source for c in cues}
        differ += all(by_aspect[a].text != by_aspect[b].text for a, b in pairs)
        content += all(
            content_words(by_aspect[a], a, b) != content_words(by_aspect[b], a, b) for a, b in pairs
        )
    n = len(contrastive)
    rates = {"differ": round(differ / n, 4), "differ_without_terms": round(content / n, 4)}
    return {"corpus": name, "form": options.form, "sentences": n, "by": sorted(sources), **rates}


def opposites(example: Example) -> list[tuple[Aspect, Aspect]]:
    """Every pair of a negative and a positive aspect, by gold."""
    gold = {o.aspect: o.polarity for o in example.opinions_by("gold")}
    negative = [a for a, p in gold.items() if p is Polarity.NEGATIVE]
    positive = [a for a, p in gold.items() if p is Polarity.POSITIVE]
    return list(product(negative, positive))


def content_words(cue: Cue, *aspects: Aspect) -> list[str]:
    """Return the words of a cue without those of the aspects."""
    terms = {w for a in aspects for w in a.term.lower().split()} | {"..."}
    return [w for w in cue.text.lower().replace(",", " ").split() if w not in terms]


def main() -> None:
    """Print one JSON line and a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sentences", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    speed_report = speed(options.sentences, options.runs)
    contrast_reports = [contrast(name, SyntaxOptions()) for name in CONTRAST_CORPORA]
    versions = spacy_pipeline.parser_version(spacy_pipeline.MODEL)
    print(
        json.dumps(
            {
                "machine": machine,
                "parser": versions,
                "speed": speed_report,
                "apart": contrast_reports,
            }
        )
    )
    print(f"\n{machine}; {versions}")
    print(f"sentences a second of CPU time: {speed_report['per_s']}, {speed_report['runs']} runs")
    print(f"cues reach {speed_report['throughput']:.1%} of nlp.pipe, ", end="")
    print(
        f"{speed_report['throughput_same_batch']:.1%} of nlp.pipe "
        f"with batches of {spacy_pipeline.BATCH_SIZE}"
    )
    for row in contrast_reports:
        print(f"{row['corpus']:28} {', '.join(row['by']):24} n={row['sentences']:<5}", end="")
        print(f" differ {row['differ']:.1%}, without the terms {row['differ_without_terms']:.1%}")


if __name__ == "__main__":
    main()
