"""How long a model waits for its posts: images and prompts prepared ahead, or one by one.

    GEN_MSA_DATA=... python eval/bench/ahead.py                 # MVSA-Single, its own images
    python eval/bench/ahead.py --side 4000 --engine-ms 150      # drawn photographs of 12 MP

The model is a stand-in that sleeps as long as a GPU would take for each question, and leaves the
processor alone; its pictures are loaded as a real backend loads them. `ahead` is what a job does:
the next chunk is made ready in a thread meanwhile. `in turn` reads chunk after chunk with the same
reader. Waiting is the share of the time from the first question to the last answer in which the
model had nothing to do, the first chunk's own preparation left out. Laps are run in turn; answers
must be the same. Exit code 1: they are not, or a lap with `ahead` waits more than 5 %.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from gen_msa import media
from gen_msa.annotation.workers import PredictorTeacher, predict_in_process
from gen_msa.backends import BackendOptions
from gen_msa.backends.echo import EchoBackend
from gen_msa.chat import Completion, Request
from gen_msa.data import open_examples
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.prompted import PromptedPredictor
from gen_msa.types import Aspect, Example, Media, Post

WORDS = ("harbour", "lantern", "orchard", "carriage")


class SleepingBackend(EchoBackend):
    """Echo's answers, after as long as a GPU would have taken; it remembers when it was asked."""

    def __init__(self, seconds: float) -> None:
        super().__init__("", BackendOptions())
        self.seconds = seconds
        self.times: list[tuple[float, float]] = []

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Load every image, as a backend does, and sleep."""
        began = time.perf_counter()
        for request in requests:
            for image in request.chat.images:
                media.load_image(image)
        remaining = self.seconds * len(requests) - (time.perf_counter() - began)
        time.sleep(max(0.0, remaining))
        self.times.append((began, time.perf_counter()))
        return super().complete(requests)

    def idle_share(self) -> float:
        """Share of the time in which it had nothing to do."""
        busy = sum(end - start for start, end in self.times)
        return 1 - busy / (self.times[-1][1] - self.times[0][0])


def synthetic_examples(folder: Path, n: int, side: int) -> Iterator[Example]:
    """Build posts with a photograph each: noise, which no decoder can hurry through."""
    for i in range(n):
        noise = Image.effect_noise((side // 4, side * 3 // 16), 60 + i % 40)
        noise.resize((side, side * 3 // 4)).convert("RGB").save(folder / f"{i}.jpg", quality=90)
        word = WORDS[i % len(WORDS)]
        text = f"What a {word} this is, number {i}, with the whole town in front of it"
        post = Post(id=str(i), text=text, media=(Media(kind="image", path=f"{i}.jpg"),))
        yield Example(post=post.model_copy(update={"aspects": (Aspect(term=word, start=7),)}))


def mvsa_examples(n: int) -> tuple[list[Example], Path]:
    """Return the first posts of MVSA-Single dev and the folder of their images."""
    source = open_examples("mvsa_single:dev")
    rows = (r for r in source.rows() if isinstance(r, Example))
    return [Example(post=r.post) for r in islice(rows, n)], source.media_root


def run_lap(
    examples: list[Example], root: Path, chunk: int, seconds: float, *, with_prefetch: bool
) -> tuple[float, float, list[Any]]:
    """Measure posts a second, the share of time waited, and the answers; decode images anew."""
    media.admission.cache.clear()
    engine = SleepingBackend(seconds)
    teacher = PredictorTeacher(PromptedPredictor(engine, PredictorSettings(model="echo"), root))
    batches = [(None, examples[i : i + chunk]) for i in range(0, len(examples), chunk)]
    began = time.perf_counter()
    if with_prefetch:
        predictions = [
            prediction for _, batch in predict_in_process(teacher, batches) for prediction in batch
        ]
    else:
        predictions = [prediction for _, batch in batches for prediction in teacher.predict(batch)]
    return len(examples) / (time.perf_counter() - began), engine.idle_share(), predictions


def main() -> int:
    """Run the laps and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("posts", 256), ("chunk", 64), ("laps", 5), ("side", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--engine-ms", type=float, default=20.0, help="a question")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        if options.side:
            examples = list(synthetic_examples(root, options.posts, options.side))
        else:
            examples, root = mvsa_examples(options.posts)
        media.resize_cache(3 * options.chunk, media.ImageLimits())
        runs: dict[str, list[tuple[float, float]]] = {"in turn": [], "ahead": []}
        answers = []
        run_lap(
            examples[: options.chunk], root, options.chunk, 0.0, with_prefetch=False
        )  # the parser is loaded
        for _ in range(options.laps):
            for name, run in runs.items():
                seconds = options.engine_ms / 1000
                rate, idle, predictions = run_lap(
                    examples, root, options.chunk, seconds, with_prefetch=name == "ahead"
                )
                run.append((rate, idle))
                answers.append(predictions)
    same_answers = all(predictions == answers[0] for predictions in answers)
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        **vars(options),
        **{name: _summarize_runs(run) for name, run in runs.items()},
        "times_as_many_posts": _spread(
            [a / b for (a, _), (b, _) in zip(runs["ahead"], runs["in turn"], strict=True)]
        ),
        "same_answers": same_answers,
    }
    print(json.dumps(report, indent=1))
    return 0 if same_answers and max(idle for _, idle in runs["ahead"]) <= 0.05 else 1


def _summarize_runs(run: list[tuple[float, float]]) -> dict[str, str]:
    rates, idle_shares = zip(*run, strict=True)
    return {"posts_per_second": _spread(rates), "waited": _spread(idle_shares)}


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


if __name__ == "__main__":
    sys.exit(main())
