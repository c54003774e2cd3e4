"""The order of an `http:` model's requests on a real vLLM: prefix cache hits and posts a second.

    GEN_MSA_DATA=... python eval/bench/vllm_prefix.py MODEL [--images] [--python .vllm/bin/python]

MAMS sentences, two or more aspects each, or posts of MVSA-Single with their images, asked about
two or more aspects each that a parse finds; prompt predict/full, greedy. Three orders of the same
requests to one server, each after a fresh start with an empty cache: `ours` (first one request of
a post, then its others, many at once), `together` (many at once in file order), `one by one` (one
request an aspect in file order). Hits are the server's own, `vllm:prefix_cache_hits`; shareable are
the tokens, in whole blocks, that stand at the head of an earlier prompt too: an image's tokens are
the same where its bytes are. Exit code 1: under 95 % of them, or other answers.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from defusedxml.ElementTree import parse

from gen_msa import media
from gen_msa.backends import BackendOptions
from gen_msa.backends.http import HttpBackend
from gen_msa.chat import Chat, Completion, ImageInput, Request, TextInput, Turn, build_messages
from gen_msa.data import open_examples
from gen_msa.prompting import load_prompt, render
from gen_msa.types import Aspect, Example, Post


def sentences(n: int) -> Iterator[tuple[Post, tuple[ImageInput, ...]]]:
    """Return the first `n` sentences of the MAMS dev split."""
    file = Path(os.environ["GEN_MSA_DATA"]) / "mams_atsa" / "val.xml"
    for i, node in enumerate(islice(parse(file).iter("sentence"), n)):
        spans = {(t.get("term"), int(t.get("from"))) for t in node.iter("aspectTerm")}
        aspects = tuple(Aspect(term=t, start=s) for t, s in sorted(spans, key=lambda x: x[1]))
        yield Post(id=f"mams-{i}", text=node.findtext("text"), aspects=aspects), ()


def mvsa_posts(n: int) -> Iterator[tuple[Post, tuple[ImageInput, ...]]]:
    """Return the first `n` posts of MVSA-Single dev with two or more aspects, and their images."""
    from gen_msa.cues.parsing import aspect_candidates

    source = open_examples("mvsa_single:dev")
    posts = [r.post for r in islice(source.rows(), 4 * n) if isinstance(r, Example)]
    pairs = zip(posts, aspect_candidates(posts), strict=True)
    for post, aspects in islice(((p, a) for p, a in pairs if len(a) > 1), n):
        limits = media.ImageLimits()
        images = tuple(media.open_image(m, source.media_root, limits) for m in post.media)
        yield post.model_copy(update={"aspects": aspects[:4]}), images


def build_requests(posts: Iterable[tuple[Post, tuple[ImageInput, ...]]], new: int) -> list[Request]:
    """One request an aspect, in file order."""
    prompt = load_prompt("predict/full")
    rendered = [
        render(prompt, post, a, cues={}, images=images)
        for post, images in posts
        for a in post.aspects
    ]
    return [r.model_copy(update={"max_new_tokens": new}) for r in rendered]


@contextmanager
def start_server(model: str, python: str, settings: Sequence[str]) -> Iterator[str]:
    """Run a server with an empty cache; yield its address."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    command = [sys.executable, "-m", "gen_msa", "serve", f"vllm:{model}", f"port={port}"]
    overrides = [f"python={python}", "name=model", "stop_seconds=5", *settings]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen([*command, *overrides], stdout=out, stderr=out)
        try:
            while '"event": "ready"' not in (log_text := log.read_text(errors="replace")):
                if process.poll() is not None:
                    sys.exit(f"the server did not start:\n{log_text[-3000:]}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def counters(url: str) -> dict[str, float]:
    """Tokens asked for and had by the prefix cache, and its block's size."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    pattern = r"^vllm:prefix_cache_(queries|hits)_total\{[^}]*\} (\S+)$"
    counts = {name: float(value) for name, value in re.findall(pattern, text, re.MULTILINE)}
    block = re.search(r'vllm:cache_config_info\{[^}]*\bblock_size="(\d+)"', text)
    return counts | {"block": float(block[1]) if block else 16.0}


def shareable(prompts: Sequence[Sequence[int]], block: int) -> int:
    """Tokens in whole blocks at the head of an earlier prompt; a prompt's last is read anew."""
    seen_prefixes: set[tuple[int, ...]] = set()
    n_shared = 0
    for prompt in prompts:
        heads = [tuple(prompt[:end]) for end in range(block, len(prompt) + 1, block)]
        n_shared += block * sum(h in seen_prefixes for h in heads if len(h) < len(prompt))
        seen_prefixes.update(heads)
    return n_shared


def tokens(model: str, requests: Sequence[Request]) -> list[list[int]]:
    """Return the prompts as the server tokenizes them; an image's tokens are its own numbers."""
    from transformers import AutoProcessor, AutoTokenizer

    chats = [build_messages(r.chat, lambda _: {"type": "image"})[0] for r in requests]
    if not any(r.chat.images for r in requests):
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        encoded = [tokenizer.apply_chat_template(c, add_generation_prompt=True) for c in chats]
        return [list(x["input_ids"]) for x in encoded]
    processor = AutoProcessor.from_pretrained(model, local_files_only=True)
    image_ids: dict[str, int] = {}
    prompt_ids = []
    for request, chat in zip(requests, chats, strict=True):
        image_inputs = request.chat.images
        for turn in chat:  # as the server does it: such templates know parts alone
            if isinstance(turn["content"], str):
                turn["content"] = [{"type": "text", "text": turn["content"]}]
        text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        images = [media.load_image(p) for p in image_inputs]
        (ids,) = processor(text=[text], images=[images], add_special_tokens=False)["input_ids"]
        placeholder_id = -1 - 10_000 * image_ids.setdefault(
            ",".join(p.sha256 for p in image_inputs), len(image_ids)
        )
        image_positions = (i for i, t in enumerate(ids) if t == processor.image_token_id)
        prompt_ids.append(list(ids))
        for image_index, image_position in enumerate(image_positions):
            prompt_ids[-1][image_position] = placeholder_id - image_index
    return prompt_ids


def measure_way(
    args: argparse.Namespace, mode_options: dict[str, Any], requests: list[Request]
) -> Any:
    """Seconds, counters and answers of one way."""
    with start_server(args.model, args.python, args.settings) as url:
        options = BackendOptions(api_key_variable="", retries=0, timeout=600, **mode_options)
        backend = HttpBackend(f"{url}/v1#model", options)
        # A server's first answer takes longer than any other; it shares nothing with the rest.
        hello = Chat(turns=(Turn(role="user", parts=(TextInput(text="Hello"),)),))
        backend.complete([Request(chat=hello, max_new_tokens=2)])
        before, start = counters(url), time.perf_counter()
        completions = backend.complete(requests)
        seconds, after = time.perf_counter() - start, counters(url)
        for name in ("queries", "hits"):
            after[name] -= before[name]
        return seconds, after, completions


MODES: dict[str, dict[str, Any]] = {
    "ours": {},
    "together": {"share_prefix": False},
    "one by one": {"share_prefix": False, "batch_size": 1},
}


def main() -> int:
    args = arguments()
    requests = build_requests((mvsa_posts if args.images else sentences)(args.sentences), args.new)
    prompts = tokens(args.model, requests)
    report: dict[str, Any] = {**vars(args), "requests": len(requests)}
    texts: dict[str, list[str]] = {}
    rates: dict[str, list[float]] = {name: [] for name in MODES}
    shares = []
    for lap in range(args.laps):
        for name, mode_options in sorted(MODES.items(), key=lambda x: x[0], reverse=lap % 2 > 0):
            seconds, counters_after, completions = measure_way(
                args, {"batch_size": args.batch, **mode_options}, requests
            )
            texts.setdefault(name, [answer(c) for c in completions])
            rates[name].append(args.sentences / seconds)
            report[name] = {"posts/s": spread(rates[name]), **hits(counters_after, prompts)}
            shares.append(report[name]["of shareable in whole blocks"] if name == "ours" else 1.0)
            print(json.dumps({name: report[name]}), file=sys.stderr)
    report["answers that differ"] = {
        name: sum(a != b for a, b in zip(texts["ours"], others, strict=True))
        for name, others in texts.items()
    }
    pairs = zip(rates["ours"], rates["one by one"], strict=True)
    report["times as many posts as one by one"] = spread([a / b for a, b in pairs])
    print(json.dumps(report, indent=1))
    return 0 if min(shares) >= 0.95 and not any(report["answers that differ"].values()) else 1


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model")
    options.add_argument("settings", nargs="*", help="of gen-msa serve, e.g. backend.dtype=float32")
    options.add_argument("--python", default=sys.executable)
    options.add_argument("--images", action="store_true", help="MVSA-Single in place of MAMS")
    for name, default in (("sentences", 60), ("new", 8), ("batch", 16), ("laps", 3)):
        options.add_argument(f"--{name}", type=int, default=default)
    return options.parse_intermixed_args()


def hits(cache_counters: dict[str, float], prompts: list[list[int]]) -> dict[str, Any]:
    """Return the server's counts of a mode, and their share of the shareable tokens."""
    block = int(cache_counters["block"])
    return {
        "prompt tokens": int(cache_counters["queries"]),
        "hits": int(cache_counters["hits"]),
        "block": block,
        "of shareable in whole blocks": round(
            cache_counters["hits"] / shareable(prompts, block), 4
        ),
        "of shareable tokens": round(cache_counters["hits"] / shareable(prompts, 1), 4),
        "blocks of 16 could have": round(shareable(prompts, 16) / shareable(prompts, 1), 4),
    }


def answer(completion: Completion) -> str:
    """Words, or what went wrong: a failure is no answer and must not pass for one."""
    return completion.text if completion.finish_reason != "error" else f"error: {completion.error}"


if __name__ == "__main__":
    sys.exit(main())
