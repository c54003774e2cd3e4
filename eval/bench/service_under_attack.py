"""An honest client of the service while others send what is expensive, and the service's memory.

    python eval/bench/service_under_attack.py student:students/text/student [explanations=true]
    python eval/bench/service_under_attack.py builtin [--seconds 60]

The attackers stay within all limits: 64 posts of 19,900 characters, 16 posts of thousands of blank
lines, and 4 images of 1.6 kB that have 39.7 megapixels each, again and again from `--attackers`
clients in a process of their own. The honest client sends one short post after another. Its peers
are the same service before the attack: its p99 without attackers, and its memory when idle. Prints
one JSON object; a request that gets 503 is counted, and its time is not.
"""

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import platform
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service import ECHO_SETTINGS, ServerProcess, run_lap, start_server


def large_requests() -> list[bytes]:
    """Return the bodies of the attackers."""
    from PIL import Image

    words = [{"text": (f"screen and battery {i} and " * 1000)[:19_900]} for i in range(64)]
    lines = [{"text": "\n" * 19_000 + f"x {i}", "aspects": ["x"]} for i in range(16)]
    image = io.BytesIO()
    Image.new("RGB", (6300, 6300)).save(image, "WEBP", lossless=True)
    url = f"data:image/webp;base64,{base64.b64encode(image.getvalue()).decode()}"
    images = [{"text": f"x {i}", "aspects": ["x"], "image": url} for i in range(4)]
    return [json.dumps(posts).encode() for posts in (words, lines, images)]


async def send(server: ServerProcess, body: bytes) -> int:
    """Send a body; return the status of the answer, 0 for none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
            b"\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        writer.close()
        return int(head.split()[1])
    except (OSError, asyncio.IncompleteReadError):
        return 0


async def attack(server: ServerProcess, seconds: float, attackers: int) -> list[int]:
    """Send the large requests again and again; return the statuses of the answers."""
    until, statuses = time.monotonic() + seconds, list[int]()
    requests = large_requests()

    async def attacker(bodies: list[bytes]) -> None:
        while time.monotonic() < until:
            for body in bodies:
                statuses.append(await send(server, body))

    order = (requests[i % 3 :] + requests[: i % 3] for i in range(attackers))
    await asyncio.gather(*map(attacker, order))
    return statuses


def honest_client(server: ServerProcess, seconds: float) -> dict[str, Any]:
    """Return the times of a client that sends one post after another."""
    until = time.monotonic() + seconds
    times: list[float] = []
    n_refused = at = 0
    while time.monotonic() < until:
        took, polarities = asyncio.run(run_lap(server, 1, range(at, at + 10)))
        at += 10
        n_refused += polarities.count(None)
        if None not in polarities:
            times += took
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [0.0] * 99
    return {
        "answered": len(times),
        "refused": n_refused,
        "p50_ms": round(cuts[49] * 1000, 1),
        "p99_ms": round(cuts[98] * 1000, 1),
    }


def attack_in_a_process(port: int, seconds: float, attackers: int) -> list[int]:
    """Attack from a process that shares no lock with the honest client."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_attack, (port, seconds, attackers))


def _attack(port: int, seconds: float, attackers: int) -> list[int]:
    return asyncio.run(attack(ServerProcess(port, 0), seconds, attackers))


def main() -> None:
    """Measure quiet, then under attack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="echo")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--attackers", type=int, default=1)
    options = parser.parse_args()
    command = [sys.executable, "-m", "gen_msa", "serve", options.model, "port=0"]
    settings = [*(ECHO_SETTINGS if options.model == "echo" else []), *options.settings]
    with start_server([*command, *settings]) as server, ThreadPoolExecutor(2) as threads:
        quiet = honest_client(server, options.seconds)
        idle = peak = server.resident_mb()
        attacking = threads.submit(
            attack_in_a_process, server.port, options.seconds + 5, options.attackers
        )
        time.sleep(5)  # the process starts
        measuring = threads.submit(honest_client, server, options.seconds)
        while not (attacking.done() and measuring.done()):
            peak = max(peak, server.resident_mb())
            time.sleep(0.05)
        attacked, statuses = measuring.result(), attacking.result()
    print(
        json.dumps(
            {
                "model": options.model.partition(":")[0],
                "quiet": quiet,
                "under_attack": attacked,
                "times_p99": round(attacked["p99_ms"] / max(quiet["p99_ms"], 0.1), 2),
                "idle_mb": round(idle, 1),
                "peak_mb": round(peak, 1),
                "times_memory": round(peak / idle, 2),
                "attack_statuses": {str(s): statuses.count(s) for s in sorted(set(statuses))},
                "machine": platform.processor() or platform.machine(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
