"""The service against a plain handler: throughput and latency at 1, 8, 64 clients, and memory.

    python eval/bench/service.py student:students/text/student [explanations=true]
    python eval/bench/service.py [--laps 5] [--posts 400]       # `echo`: what HTTP alone costs

Both serve the same model (a student without explanations unless set), from one process of
uvicorn with the same protocol and threads; the plain one predicts one post at a time. Clients run
in
this process, each with an open connection, and send the next request as soon as they are answered;
laps alternate. `--requests` then sends so many to the service and watches its memory. Prints one
JSON object. Accuracy is not measured, only whether both give the same labels.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = ["screen", "battery", "soup", "waiter", "train", "beach", "song", "lens", "coffee", "queue"]
FEELINGS = ["great", "awful", "fine", "slow", "lovely", "cold", "loud", "sharp", "dull", "endless"]
CLIENTS = (1, 8, 64)
ECHO_SETTINGS = ["prompt=predict/plain", "cues={}"]


@dataclass(frozen=True)
class ServerProcess:
    """A process that listens."""

    port: int
    pid: int

    def resident_mb(self) -> float:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """Processor time used so far: what tells on a machine that others use, too."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def post(i: int) -> dict[str, Any]:
    """Post `i`: two aspects, some four to twenty words."""
    a, b = WORDS[i % 10], WORDS[(i // 10 + i + 1) % 10]
    more = " ".join(FEELINGS[: i % 8])
    text = f"The {a} was {FEELINGS[i // 7 % 10]} and the {b} {FEELINGS[i // 3 % 10]} {more} ({i})"
    aspects = [{"term": a, "start": 4}, {"term": b, "start": text.index(f"the {b}") + 4}]
    return {"id": f"p{i}", "text": text, "aspects": aspects[: 1 if a == b else 2]}


def serve_plain(overrides: list[str]) -> None:
    """Serve the handler that the service is compared with, until the process is ended."""
    import uvicorn
    from fastapi import FastAPI

    from gen_msa.predictors import PredictorSettings, make
    from gen_msa.settings import load
    from gen_msa.types import Example, Post

    predictor = make(load(PredictorSettings, overrides=overrides), Path())
    predict_lock = threading.Lock()
    app = FastAPI()

    @app.post("/v1/explain")
    def explain(post: Post) -> Example:
        with predict_lock:
            return Example(post=post, opinions=predictor.predict([post])[0].opinions)

    config = uvicorn.Config(app, port=0, http="h11", ws="none", access_log=False)
    uvicorn.Server(config).run()


@contextmanager
def start_server(command: list[str]) -> Iterator[ServerProcess]:
    """Yield the server of a command, once it has logged its address and answers."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines: Any = process.stderr
    try:
        for line in lines:
            if match := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                threading.Thread(target=lines.read, daemon=True).start()
                server = ServerProcess(int(match[1]), process.pid)
                asyncio.run(_wait_until_ready(server))
                yield server
                return
        raise SystemExit(f"{' '.join(command)} did not start")
    finally:
        process.terminate()
        process.wait()


async def _wait_until_ready(server: ServerProcess) -> None:
    for _ in range(1200):
        if (await run_lap(server, 1, range(1)))[1] != [None]:
            return
        await asyncio.sleep(0.1)
    raise SystemExit("a server did not get ready within two minutes")


async def run_lap(
    server: ServerProcess, clients: int, numbers: range
) -> tuple[list[float], list[list[str] | None]]:
    """Return seconds of each request, and the polarities (None: not answered)."""
    remaining = iter(numbers)
    seconds: list[float] = []
    polarities_by_post: dict[int, list[str] | None] = {}

    async def client() -> None:
        stream_reader, stream_writer = await asyncio.open_connection("127.0.0.1", server.port)
        for i in remaining:
            body = json.dumps(post(i)).encode()
            began = time.perf_counter()
            stream_writer.write(
                b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
                b"\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await stream_reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            answer = await stream_reader.readexactly(int(length[1]) if length else 0)
            seconds.append(time.perf_counter() - began)
            polarities_by_post[i] = _polarities(answer) if b" 200 " in head[:15] else None
        stream_writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds, [polarities_by_post[i] for i in numbers]


def _polarities(answer: bytes) -> list[str] | None:
    payload = json.loads(answer)
    entry = payload["answers"][0] if "answers" in payload else {"example": payload}
    example = entry.get("example")
    return [o["polarity"] for o in example["opinions"]] if example else None


def compare_servers(
    servers: dict[str, ServerProcess], clients: int, laps: int, posts: int
) -> dict[str, Any]:
    """Median and range over the laps for each server, in turn; the first lap is not counted."""
    runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in servers}
    n_equal = total = n_failed = 0
    for n in range(laps + 1):
        answers = []
        for name, server in servers.items():
            began, cpu_before = time.perf_counter(), server.cpu_seconds()
            seconds, polarities = asyncio.run(
                run_lap(server, clients, range(n * posts, (n + 1) * posts))
            )
            rate = posts / (time.perf_counter() - began)
            cost = (server.cpu_seconds() - cpu_before) / posts * 1000
            cuts = statistics.quantiles(seconds, n=100, method="inclusive")
            answers.append(polarities)
            if n:
                runs[name].append((rate, cuts[49] * 1000, cuts[98] * 1000, cost))
        n_failed += sum(a is None for server_answers in answers for a in server_answers)
        n_equal += sum(a == b for a, b in zip(*answers, strict=True))
        total += posts
    report: dict[str, Any] = {
        name: _summarize_runs(server_answers) for name, server_answers in runs.items()
    }
    service, other = (runs[name] for name in servers)
    ratios = [s[0] / o[0] for s, o in zip(service, other, strict=True)]
    report["times_as_many_posts"] = _spread(ratios)
    return {**report, "same_answers": f"{n_equal} of {total}", "not_answered": n_failed}


def _summarize_runs(laps: list[tuple[float, ...]]) -> dict[str, str]:
    names = ("posts_per_second", "p50_ms", "p99_ms", "cpu_ms_a_post")
    return {name: _spread([run[i] for run in laps]) for i, name in enumerate(names)}


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def measure_memory(server: ServerProcess, requests: int) -> dict[str, Any]:
    """Resident memory after the first 5 % of the requests, and at the end."""
    requests_per_step = max(1, requests // 20)
    asyncio.run(run_lap(server, 8, range(requests_per_step)))
    early, began = server.resident_mb(), time.perf_counter()
    resident_mb = [early]
    for at in range(requests_per_step, requests, requests_per_step):
        asyncio.run(run_lap(server, 8, range(at, min(at + requests_per_step, requests))))
        resident_mb.append(server.resident_mb())
    rate = (requests - requests_per_step) / (time.perf_counter() - began)
    return {
        "requests": requests,
        "resident_mb": [round(m, 1) for m in resident_mb],
        "growth_mb": round(resident_mb[-1] - early, 1),
        "requests_per_second": round(rate, 1),
    }


def main() -> None:
    """Run what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="echo")
    parser.add_argument("settings", nargs="*", help="key=value, for both")
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--posts", type=int, default=400)
    parser.add_argument("--plain", action="store_true", help="be the plain server")
    options = parser.parse_args()
    default_settings = (
        ["explanations=false"] if options.model.startswith("student:") else ECHO_SETTINGS
    )
    settings = options.settings or default_settings
    if options.plain:
        serve_plain([f"model={options.model}", *settings])
        return
    serve = ["-m", "gen_msa", "serve", options.model, "port=0", *settings]
    other = [__file__, options.model, *settings, "--plain"]
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "model": " ".join([options.model, *settings]),
        "laps": f"{options.laps} of {options.posts} posts; median (least to most)",
    }
    with (
        start_server([sys.executable, *serve]) as service,
        start_server([sys.executable, *other]) as second,
    ):
        both = {"service": service, "plain": second}
        for clients in CLIENTS:
            report[f"{clients} clients"] = compare_servers(
                both, clients, options.laps, options.posts
            )
        if options.requests:
            report["memory"] = measure_memory(service, options.requests)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
