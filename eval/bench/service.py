"""The service against a plain handler: throughput and latency at 1, 8, 64 clients, and memory.

    python eval/bench/service.py student:students/text/student [reasons=true] [--requests 100000]
    python eval/bench/service.py [--laps 5] [--posts 400]       # `echo`: what HTTP alone costs

Both serve the same reader, a student without its reasons if not told otherwise, from one process of
uvicorn with the same protocol and threads; the plain one reads one post at a time. Clients live in
this process, each with a line kept open, and ask again as soon as they are answered; laps are run
in turn. `--requests` then sends so many to the service and watches its memory. Prints one JSON
object. Knows nothing of accuracy: that both say the same is counted, and nothing more.
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
PLAINEST = ["prompt=reader/plain", "cues={}"]


@dataclass(frozen=True)
class Server:
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


def plain(overrides: list[str]) -> None:
    """The handler that the service is measured against; runs until it is ended."""
    import uvicorn
    from fastapi import FastAPI

    from gen_msa.readers import ReaderSettings, make
    from gen_msa.settings import load
    from gen_msa.types import Example, Post

    reader = make(load(ReaderSettings, overrides=overrides), Path())
    one = threading.Lock()
    app = FastAPI()

    @app.post("/v1/explain")
    def explain(post: Post) -> Example:
        with one:
            return Example(post=post, opinions=reader.read([post])[0].opinions)

    config = uvicorn.Config(app, port=0, http="h11", ws="none", access_log=False)
    uvicorn.Server(config).run()


@contextmanager
def started(command: list[str]) -> Iterator[Server]:
    """The server of a command, once it says its address and answers."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines: Any = process.stderr
    try:
        for line in lines:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                threading.Thread(target=lines.read, daemon=True).start()
                server = Server(int(found[1]), process.pid)
                asyncio.run(_answers(server))
                yield server
                return
        raise SystemExit(f"{' '.join(command)} did not start")
    finally:
        process.terminate()
        process.wait()


async def _answers(server: Server) -> None:
    for _ in range(1200):
        if (await lap(server, 1, range(1)))[1] != [None]:
            return
        await asyncio.sleep(0.1)
    raise SystemExit("a server did not get ready within two minutes")


async def lap(
    server: Server, clients: int, numbers: range
) -> tuple[list[float], list[list[str] | None]]:
    """Seconds of each request, and the polarities that were said (None: not answered)."""
    left = iter(numbers)
    seconds: list[float] = []
    said: dict[int, list[str] | None] = {}

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for i in left:
            body = json.dumps(post(i)).encode()
            began = time.perf_counter()
            writer.write(
                b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
                b"\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            answer = await reader.readexactly(int(length[1]) if length else 0)
            seconds.append(time.perf_counter() - began)
            said[i] = _polarities(answer) if b" 200 " in head[:15] else None
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds, [said[i] for i in numbers]


def _polarities(answer: bytes) -> list[str] | None:
    found = json.loads(answer)
    entry = found["answers"][0] if "answers" in found else {"example": found}
    example = entry.get("example")
    return [o["polarity"] for o in example["opinions"]] if example else None


def compared(servers: dict[str, Server], clients: int, laps: int, posts: int) -> dict[str, Any]:
    """Median and range over the laps for each server, in turn; the first lap is not counted."""
    runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in servers}
    same = total = lost = 0
    for n in range(laps + 1):
        answers = []
        for name, server in servers.items():
            began, used = time.perf_counter(), server.cpu_seconds()
            seconds, said = asyncio.run(lap(server, clients, range(n * posts, (n + 1) * posts)))
            rate = posts / (time.perf_counter() - began)
            cost = (server.cpu_seconds() - used) / posts * 1000
            cuts = statistics.quantiles(seconds, n=100, method="inclusive")
            answers.append(said)
            if n:
                runs[name].append((rate, cuts[49] * 1000, cuts[98] * 1000, cost))
        lost += sum(a is None for some in answers for a in some)
        same += sum(a == b for a, b in zip(*answers, strict=True))
        total += posts
    told: dict[str, Any] = {name: _told(some) for name, some in runs.items()}
    service, other = (runs[name] for name in servers)
    ratios = [s[0] / o[0] for s, o in zip(service, other, strict=True)]
    told["times_as_many_posts"] = _spread(ratios)
    return {**told, "same_answers": f"{same} of {total}", "not_answered": lost}


def _told(laps: list[tuple[float, ...]]) -> dict[str, str]:
    names = ("posts_per_second", "p50_ms", "p99_ms", "cpu_ms_a_post")
    return {name: _spread([run[i] for run in laps]) for i, name in enumerate(names)}


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def memory(server: Server, requests: int) -> dict[str, Any]:
    """Resident memory after the first 5 % of the requests, and at the end."""
    part = max(1, requests // 20)
    asyncio.run(lap(server, 8, range(part)))
    early, began = server.resident_mb(), time.perf_counter()
    marks = [early]
    for at in range(part, requests, part):
        asyncio.run(lap(server, 8, range(at, min(at + part, requests))))
        marks.append(server.resident_mb())
    rate = (requests - part) / (time.perf_counter() - began)
    return {
        "requests": requests,
        "resident_mb": [round(m, 1) for m in marks],
        "growth_mb": round(marks[-1] - early, 1),
        "requests_per_second": round(rate, 1),
    }


def main() -> None:
    """Run what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reader", nargs="?", default="echo")
    parser.add_argument("settings", nargs="*", help="key=value, for both")
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--posts", type=int, default=400)
    parser.add_argument("--plain", action="store_true", help="be the plain server")
    asked = parser.parse_args()
    usual = ["reasons=false"] if asked.reader.startswith("student:") else PLAINEST
    settings = asked.settings or usual
    if asked.plain:
        plain([f"reader={asked.reader}", *settings])
        return
    serve = ["-m", "gen_msa", "serve", asked.reader, "port=0", *settings]
    other = [__file__, asked.reader, *settings, "--plain"]
    figures: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "reader": " ".join([asked.reader, *settings]),
        "laps": f"{asked.laps} of {asked.posts} posts; median (least to most)",
    }
    with started([sys.executable, *serve]) as service, started([sys.executable, *other]) as second:
        both = {"service": service, "plain": second}
        for clients in CLIENTS:
            figures[f"{clients} clients"] = compared(both, clients, asked.laps, asked.posts)
        if asked.requests:
            figures["memory"] = memory(service, asked.requests)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
