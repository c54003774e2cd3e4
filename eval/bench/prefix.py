"""Shared prefix against the plain batched path: posts a second on MAMS, same run, interleaved.

    GEN_MSA_DATA=... python eval/bench/prefix.py                  # 5 rounds of 60 sentences

SmolLM2-135M-Instruct in float32, prompt predict/full, slot and at most 40 new tokens. Every MAMS
sentence has two or more aspects. Each round runs both ways on the same sentences, in turn first;
process CPU time and wall time, median and range over rounds. Answers must be the same text; where
they are not, the gap between the two best tokens at the first difference is printed.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from defusedxml.ElementTree import parse

from gen_msa import builtin
from gen_msa.backends import BackendOptions
from gen_msa.backends.hf import weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.chat import Completion, Request
from gen_msa.prompting import load_prompt, render
from gen_msa.types import Aspect, Post


def sentences(root: Path, n: int) -> list[Post]:
    """Return the first `n` sentences of the MAMS dev split."""
    posts = []
    for i, node in enumerate(islice(parse(root / "mams_atsa" / "val.xml").iter("sentence"), n)):
        spans = {(t.get("term"), int(t.get("from"))) for t in node.iter("aspectTerm")}
        aspects = tuple(Aspect(term=t, start=s) for t, s in sorted(spans, key=lambda x: x[1]))
        posts.append(Post(id=f"mams-{i}", text=node.findtext("text"), aspects=aspects))
    return posts


def requests(posts: Sequence[Post], new: int) -> list[Request]:
    """One request an aspect, those of a sentence adjacent."""
    prompt = load_prompt("predict/full")
    rendered = [render(prompt, p, a, cues={}, images=()) for p in posts for a in p.aspects]
    return [r.model_copy(update={"max_new_tokens": new}) for r in rendered]


def time_completion(
    backend: TransformersBackend, requests_: list[Request]
) -> tuple[list[Completion], float, float]:
    """Completions, process CPU seconds, wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    completions = backend.complete(requests_)
    return completions, time.process_time() - cpu, time.perf_counter() - wall


def gap(backend: TransformersBackend, request: Request, a: str, b: str) -> float:
    """Log-probability between the two tokens at which two answers part, read without any cache."""
    layout, model = backend.generator.chat_tokenizer, backend.generator.engine.model
    prompt = layout.render_prompt(request.chat).text
    first_ids, second_ids = layout.tokenize(prompt + a, prompt), layout.tokenize(prompt + b, prompt)
    split_index = next(
        (i for i, (x, y) in enumerate(zip(first_ids, second_ids, strict=False)) if x != y), None
    )
    if split_index is None:
        return 0.0
    with torch.inference_mode():
        logp = model(torch.tensor([first_ids[:split_index]])).logits[0, -1].log_softmax(-1)
    return float(logp[first_ids[split_index]] - logp[second_ids[split_index]])


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def measure_rounds(
    backends: dict[str, TransformersBackend], batch: list[Request], rounds: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[Completion]]]:
    """Measure CPU and wall seconds of each round and mode, and return the last answers."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in backends}
    completions: dict[str, list[Completion]] = {}
    for backend in backends.values():
        backend.complete(batch[:4])
    for round_index in range(rounds):
        for name in sorted(backends, reverse=bool(round_index % 2)):
            completions[name], cpu, wall = time_completion(backends[name], batch)
            times[name].append((cpu, wall))
            print(
                f"round {round_index} {name}: cpu {cpu:.1f} s, wall {wall:.1f} s", file=sys.stderr
            )
    return times, completions


def compare_rates(
    times: dict[str, list[tuple[float, float]]], n: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return posts a second of each mode, and their ratio round by round."""
    report = {}
    for k, unit in enumerate(("CPU", "wall")):
        rates = {name: [n / t[k] for t in round_times] for name, round_times in times.items()}
        ratios = [s / p for s, p in zip(rates["shared"], rates["plain"], strict=True)]
        report[f"posts/s, {unit}"] = {name: spread(r) for name, r in rates.items()}
        report[f"posts/s, {unit}"]["ratio"] = spread(ratios)
    return report


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    for name, default in (("sentences", 60), ("rounds", 5), ("new", 40), ("batch", 16)):
        options.add_argument(f"--{name}", type=int, default=default)
    # Threads that wait for one another spin, and would be counted as work on a busy machine.
    options.add_argument("--threads", type=int, default=1)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    posts = sentences(Path(os.environ["GEN_MSA_DATA"]), args.sentences)
    batch = requests(posts, args.new)
    model, processor, revision = weights.load_model_and_processor(
        str(builtin.model_folder()), BackendOptions()
    )
    backends = {}
    for name in ("plain", "shared"):
        settings = BackendOptions(batch_size=args.batch, share_prefix=name == "shared")
        backends[name] = TransformersBackend.from_model(
            model, processor.tokenizer, settings, revision
        )
    times, completions = measure_rounds(backends, batch, args.rounds)
    pairs = list(zip(batch, completions["shared"], completions["plain"], strict=True))
    differing = [(r, s.text, p.text) for r, s, p in pairs if s.text != p.text]
    rates = compare_rates(times, len(posts))
    report = {
        **vars(args),
        "requests": len(batch),
        "revision": revision,
        "prompt": load_prompt("predict/full").identity,
        "mean prompt tokens": round(
            statistics.mean(c.prompt_tokens for c in completions["plain"]), 1
        ),
        "mean new tokens": round(statistics.mean(c.new_tokens for c in completions["plain"]), 1),
        **rates,
        "answers that differ": len(differing),
        "gaps (nats)": [round(gap(backends["plain"], *each), 6) for each in differing],
    }
    print(json.dumps(report, indent=1))
    return 0 if not differing and rates["posts/s, CPU"]["ratio"]["median"] >= 1.5 else 1


if __name__ == "__main__":
    sys.exit(main())
