"""How much of a server is left idle by a job: two chunks asked together, or one after the other.

    python eval/bench/filling.py
    python eval/bench/filling.py --chunk 16

The server is a stand-in in a process of its own that sleeps over each question, for a time between
50 and 350 ms that the question decides, as a GPU takes for answers of different lengths; it answers
whoever asks, and counts. The job is a real one, over HTTP, with its `batch_size` in flight. `idle`
is the share of these places that stood empty between the first question and the last answer. Laps
are run in turn; the files must be the same. Exit code 1: they are not, or asked together a lap
leaves more idle than one by one.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gen_msa.annotation import JobSettings, annotate, workers
from gen_msa.data import open_examples

SECONDS = (0.05, 0.35)


class SlowHandler(BaseHTTPRequestHandler):
    """Answers after a while; its server keeps when."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "CountingServer"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        """Sleep over the question, and say the same to all."""
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        began = time.perf_counter()
        time.sleep(random.Random(zlib.crc32(raw)).uniform(*SECONDS))
        answer_text = '{"sentiment": "positive", "explanation": "It is so."}'
        answer = {"message": {"role": "assistant", "content": answer_text}, "finish_reason": "stop"}
        content = json.dumps({"model": "m", "choices": [answer]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.server.times.append((began, time.perf_counter()))


class CountingServer(ThreadingHTTPServer):
    """`times` are the beginnings and ends of its answers."""

    daemon_threads = True
    request_queue_size = 128
    times: list[tuple[float, float]]


def serve(pipe: Connection) -> None:
    """Serve until the pipe closes; answer each message with the times since the last."""
    server = CountingServer(("127.0.0.1", 0), SlowHandler)
    server.times = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_address[1])
    while pipe.recv():
        pipe.send(server.times)
        server.times = []


def write_posts(path: Path, n: int) -> str:
    """Write posts with two aspects each as JSONL."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            text = f"The soup {i} was cold but the waiter kind"
            aspects = [{"term": "soup", "start": 4}, {"term": "waiter"}]
            post = {"id": f"p{i}", "text": text, "aspects": aspects}
            file.write(json.dumps({"post": post}) + "\n")
    return str(path)


def run_lap(
    source: str, out: Path, settings: JobSettings, concurrent_chunks: int
) -> tuple[float, str]:
    """Return posts a second of one job, and its output."""
    workers.CONCURRENT_CHUNKS = concurrent_chunks
    began = time.perf_counter()
    counts = annotate(open_examples(source), out, settings, cache_path=None).counts
    return counts.written / (time.perf_counter() - began), out.read_text(encoding="utf-8")


def idle_share(times: Sequence[tuple[float, float]], n_slots: int) -> float:
    """Share of `places` that stood empty."""
    duration = max(end for _, end in times) - min(start for start, _ in times)
    return 1 - sum(end - start for start, end in times) / duration / n_slots


def main() -> int:
    """Run the laps and print one JSON object."""
    arguments = _arguments()
    near, far = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(far,), daemon=True)
    server.start()
    options = {"api_key_variable": "", "retries": 0, "batch_size": arguments.batch_size}
    job_fields = {"chunk": arguments.chunk, "aspects": "given", "backend": options}
    settings = JobSettings.model_validate(
        {"model": f"http:http://127.0.0.1:{near.recv()}/v1#m", **job_fields}
    )
    runs: dict[str, list[tuple[float, float]]] = {"one": [], "two": []}
    files = set()
    with tempfile.TemporaryDirectory() as scratch:
        source = write_posts(Path(scratch) / "posts.jsonl", arguments.posts)
        warm_up_file = write_posts(Path(scratch) / "few.jsonl", 8)
        run_lap(warm_up_file, Path(scratch) / "out.jsonl", settings, 1)  # the parser is loaded
        for _ in range(arguments.laps):
            for concurrent_chunks, run in enumerate(runs.values(), 1):
                near.send(True)
                near.recv()
                rate, file = run_lap(
                    source, Path(scratch) / "out.jsonl", settings, concurrent_chunks
                )
                near.send(True)
                run.append((rate, idle_share(near.recv(), arguments.batch_size)))
                files.add(file)
    near.send(False)
    print(json.dumps(_report(arguments, runs, len(files) == 1), indent=1))
    worse = [b > a for (_, a), (_, b) in zip(runs["one"], runs["two"], strict=True)]
    return 0 if len(files) == 1 and not any(worse) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes = {"posts": 512, "chunk": 64, "laps": 5, "batch-size": 16}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def _report(
    arguments: argparse.Namespace, runs: dict[str, list[tuple[float, float]]], same: bool
) -> dict[str, Any]:
    pairs = zip(runs["two"], runs["one"], strict=True)
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        **vars(arguments),
        **{f"{name} at once": _summarize_runs(run) for name, run in runs.items()},
        "times_as_many_posts": _spread([a / b for (a, _), (b, _) in pairs]),
        "same_files": same,
    }


def _summarize_runs(run: Sequence[tuple[float, float]]) -> dict[str, str]:
    rates, idle_shares = zip(*run, strict=True)
    return {"posts_per_second": _spread(rates), "idle": _spread(idle_shares)}


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


if __name__ == "__main__":
    sys.exit(main())
