"""The order of an `http:` reader's questions on a real vLLM: prefix cache hits and posts a second.

    GEN_MSA_DATA=... python eval/bench/vllm_prefix.py MODEL [--python .vllm/bin/python]

MAMS sentences, two or more aspects each, prompt reader/full, greedy. Three ways to ask one server
the same requests, each after a fresh start with an empty cache: `ours` (a post's first question
before its others, many at once), `together` (many at once in file order), `one by one` (one
request an aspect in file order). Hits are the server's own, `vllm:prefix_cache_hits`; shareable are
the tokens, in whole blocks, that stand at the head of an earlier prompt too. Exit code 1: under
95 % of them, or other answers.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from defusedxml.ElementTree import parse

from gen_msa.backends import BackendOptions
from gen_msa.backends._messages import messages
from gen_msa.backends.http import Http
from gen_msa.chat import Completion, Request
from gen_msa.prompting import load, render
from gen_msa.types import Aspect, Post


def asked(root: Path, n: int, new: int) -> list[Request]:
    """One request an aspect of the first `n` sentences of the MAMS dev split, in file order."""
    prompt, found = load("reader/full"), []
    for i, node in enumerate(islice(parse(root / "mams_atsa" / "val.xml").iter("sentence"), n)):
        spans = {(t.get("term"), int(t.get("from"))) for t in node.iter("aspectTerm")}
        aspects = tuple(Aspect(term=t, start=s) for t, s in sorted(spans, key=lambda x: x[1]))
        post = Post(id=f"mams-{i}", text=node.findtext("text"), aspects=aspects)
        found += [render(prompt, post, a, cues={}, pictures=()) for a in aspects]
    return [r.model_copy(update={"max_new_tokens": new}) for r in found]


@contextmanager
def served(model: str, python: str, settings: Sequence[str]) -> Iterator[str]:
    """A server with an empty cache; gives its address."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    command = [sys.executable, "-m", "gen_msa", "serve", f"vllm:{model}", f"port={port}"]
    given = [f"python={python}", "name=model", "stop_seconds=5", *settings]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen([*command, *given], stdout=out, stderr=out)
        try:
            while '"event": "ready"' not in (said := log.read_text(errors="replace")):
                if process.poll() is not None:
                    sys.exit(f"the server did not start:\n{said[-3000:]}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def counters(url: str) -> dict[str, float]:
    """Tokens asked for and had by the prefix cache, and its block's size."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    pattern = r"^vllm:prefix_cache_(queries|hits)_total\{[^}]*\} (\S+)$"
    found = {name: float(value) for name, value in re.findall(pattern, text, re.MULTILINE)}
    block = re.search(r'vllm:cache_config_info\{[^}]*\bblock_size="(\d+)"', text)
    return found | {"block": float(block[1]) if block else 16.0}


def shareable(prompts: Sequence[Sequence[int]], block: int) -> int:
    """Tokens in whole blocks at the head of an earlier prompt; a prompt's last is read anew."""
    seen: set[tuple[int, ...]] = set()
    found = 0
    for prompt in prompts:
        heads = [tuple(prompt[:end]) for end in range(block, len(prompt) + 1, block)]
        found += block * sum(h in seen for h in heads if len(h) < len(prompt))
        seen.update(heads)
    return found


def tokens(model: str, requests: Sequence[Request]) -> list[list[int]]:
    """The prompts as the server lays them out."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    chats = [messages(r.chat, lambda _: {})[0] for r in requests]
    laid = [tokenizer.apply_chat_template(c, add_generation_prompt=True) for c in chats]
    return [x["input_ids"] for x in laid]


def measured(args: argparse.Namespace, way: dict[str, Any], requests: list[Request]) -> Any:
    """Seconds, counters and answers of one way."""
    with served(args.model, args.python, args.settings) as url:
        options = BackendOptions(api_key_variable="", retries=0, timeout=600, **way)
        backend = Http(f"{url}/v1#model", options)
        start = time.perf_counter()
        said = backend.complete(requests)
        seconds = time.perf_counter() - start
        return seconds, counters(url), said


WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    "together": {"share_prefix": False},
    "one by one": {"share_prefix": False, "batch_size": 1},
}


def main() -> int:
    args = arguments()
    requests = asked(Path(os.environ["GEN_MSA_DATA"]), args.sentences, args.new)
    prompts = tokens(args.model, requests)
    report: dict[str, Any] = {**vars(args), "requests": len(requests)}
    texts: dict[str, list[str]] = {}
    for name, way in WAYS.items():
        seconds, found, said = measured(args, {"batch_size": args.batch, **way}, requests)
        texts[name] = [answer(c) for c in said]
        report[name] = {"posts/s": round(args.sentences / seconds, 3), **hits(found, prompts)}
        print(json.dumps({name: report[name]}), file=sys.stderr)
    report["answers that differ"] = {
        name: sum(a != b for a, b in zip(texts["ours"], others, strict=True))
        for name, others in texts.items()
    }
    print(json.dumps(report, indent=1))
    held = report["ours"]["of shareable in whole blocks"] >= 0.95
    return 0 if held and not any(report["answers that differ"].values()) else 1


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model")
    options.add_argument("settings", nargs="*", help="of gen-msa serve, e.g. backend.dtype=float32")
    options.add_argument("--python", default=sys.executable)
    for name, default in (("sentences", 60), ("new", 8), ("batch", 16)):
        options.add_argument(f"--{name}", type=int, default=default)
    return options.parse_intermixed_args()


def hits(found: dict[str, float], prompts: list[list[int]]) -> dict[str, float]:
    """The server's figures of a way, and what share of the shareable tokens they are."""
    block = int(found["block"])
    return {
        "prompt tokens": int(found["queries"]),
        "hits": int(found["hits"]),
        "block": block,
        "of shareable in whole blocks": round(found["hits"] / shareable(prompts, block), 4),
        "of shareable tokens": round(found["hits"] / shareable(prompts, 1), 4),
    }


def answer(said: Completion) -> str:
    """Words, or what went wrong: a failure is no answer and must not pass for one."""
    return said.text if said.finish_reason != "error" else f"error: {said.error}"


if __name__ == "__main__":
    sys.exit(main())
