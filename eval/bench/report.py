"""How long an evaluation's page of 5,000 posts and three systems takes to write and to open.

    python eval/bench/report.py [--quick]        # --quick: 500 posts

Opens the page in headless Chromium, in a frame of a page that takes the time: from asking for it to
its load event, and to the second frame painted after that. Beside the wall clock stands the
processor time of the process that draws the page, which other work on the machine does not lengthen
much. Knows nothing of any model: posts, opinions and figures are made up. Prints one JSON line; the
times are medians.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread

from PIL import Image

from gen_msa.report.evaluation import write_evaluation
from gen_msa.results import (
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    SelectedRow,
    SystemResult,
)
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Polarity, Post

NAMES = ("builtin", "student", "majority")
TIMER = """<!doctype html><script>
const began = performance.now();
let loaded = 0;
function opened() {
  loaded = performance.now() - began;
  requestAnimationFrame(() => requestAnimationFrame(() => {
    fetch(`/took/${loaded}/${performance.now() - began}`);
  }));
}
</script><iframe src="page.html" width="1400" height="1000" onload="opened()"></iframe>"""


def examples(posts: int) -> Iterator[Example]:
    """Build posts of about 140 characters, two thirds of them with one of 500 images."""
    for i in range(posts):
        text = f"The screen of number {i} is lovely in the sun, {'and so on ' * 6}it dies at noon."
        aspect = Aspect(term="screen", start=4)
        quote = Evidence(quote="is lovely in the sun", start=text.index("is lovely"))
        opinions = [
            Opinion(
                annotator=annotator,
                aspect=aspect,
                polarity=list(Polarity)[(i + annotator_index) % 3],
                probs=dict.fromkeys(Polarity, 1 / 3),
                explanation="The post calls the screen lovely in the sun.",
                evidence=(quote,),
            )
            for annotator_index, annotator in enumerate(("gold", *NAMES))
        ]
        media = (Media(kind="image", path=f"{i % 500}.png"),) if i % 3 else ()
        post = Post(id=f"post-{i}", text=text, media=media, aspects=(aspect,))
        yield Example(post=post, opinions=tuple(opinions))


def build_result(posts: int) -> EvaluationResult:
    """Build a result that points at 20 rows."""
    value = MetricValue(value=0.7, n=posts, low=0.68, high=0.72)
    systems = [
        SystemResult(
            name=n, model=n, rows=posts, posts=posts, metrics={"labels": {"accuracy": value}}
        )
        for n in NAMES
    ]
    definition = MetricDefinition(
        family="labels", name="accuracy", about="", unit="share", better="high"
    )
    return EvaluationResult(
        title="Speed", data="made up", data_sha256="0" * 64, reference="gold", posts=posts,
        rows=posts, clusters=posts, clustered_by="post", seed=0, replicates=0, version="0",
        definitions=(definition,), systems=tuple(systems),
        disagreements=tuple(
            SelectedRow(post=f"post-{i}", aspect="screen", start=4) for i in range(20)
        ),
    )  # fmt: skip


def write_images(folder: Path) -> None:
    """Write 500 images of 640 x 480 with some grain, so that thumbnails have a realistic size."""
    for i in range(500):
        image = Image.effect_noise((160, 120), 20 + i % 50).resize((640, 480))
        image.convert("RGB").save(folder / f"{i}.png")


class TimingHandler(SimpleHTTPRequestHandler):
    """Serves a folder, and notes the times that the timer page reports."""

    timings: "Queue[tuple[float, float]]" = Queue()

    def do_GET(self) -> None:
        if self.path.startswith("/took/"):
            load, paint = map(float, self.path.split("/")[2:])
            self.timings.put((load / 1000, paint / 1000))
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass  # one line a request would bury the figures


def renderer_cpu_seconds(folder: Path) -> float:
    """Processor seconds so far of the processes that draw for the browser of this folder."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command_line = (process / "cmdline").read_text()
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended while it was looked at
            continue
        if "--type=renderer" in command_line and str(folder) in command_line:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def open_page(folder: Path, port: int) -> tuple[float, float, float]:
    """Seconds until the load event, until painted, and of the processor."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no chromium on this machine")
    browser_options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-sync",
        "--no-first-run",
    ]
    # The port for debugging keeps the browser open until it is ended here.
    profile_options = ["--remote-debugging-port=0", f"--user-data-dir={folder / 'user'}"]
    command = [browser, *browser_options, *profile_options, f"http://127.0.0.1:{port}/timer.html"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            load, paint = TimingHandler.timings.get(timeout=120)
            return load, paint, renderer_cpu_seconds(folder)
        finally:
            process.terminate()


def main(posts: int) -> None:
    """Write, open five times, and print one JSON line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder)
        began = time.perf_counter()
        page = folder / "page.html"
        write_evaluation(build_result(posts), examples(posts), page, folder)
        write_seconds = time.perf_counter() - began
        (folder / "timer.html").write_text(TIMER)
        with ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(TimingHandler, directory=name)
        ) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            times = [open_page(folder, server.server_port) for _ in range(3)]
            server.shutdown()
        load, paint, processor = (statistics.median(t) for t in zip(*times, strict=True))
        report = {
            "posts": posts,
            "systems": len(NAMES),
            "megabytes": round(page.stat().st_size / 1e6, 1),
            "write_seconds": round(write_seconds, 1),
            "load_seconds": round(load, 2),
            "painted_seconds": round(paint, 2),
            "processor_seconds": round(processor, 2),
            "within_2_s": paint <= 2,
        }
        print(json.dumps(report))


if __name__ == "__main__":
    main(500 if "--quick" in sys.argv else 5000)
