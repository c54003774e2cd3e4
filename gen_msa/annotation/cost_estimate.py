"""Estimate the cost of a job: count its requests and run a few of them.

The answers go into the answer cache, so that no request is sent twice. Tokens and seconds of these
few are multiplied by the number of requests: retries and votes are included as far as the few
needed them, and longer batches run faster than the estimate says.

    estimate_cost(source, settings, teacher, Path("opinions.cache")).cost
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gen_msa.annotation.filtered import token_counts
from gen_msa.annotation.output import put_answers
from gen_msa.annotation.settings import AnnotateSettings
from gen_msa.annotation.workers import Teacher, pending_chunks, visible_to_teacher
from gen_msa.answer_cache import AnswerCache, fingerprint_key
from gen_msa.data import ExampleSource
from gen_msa.data.given_aspects import with_fixed_aspects
from gen_msa.predictors import RequestPreview
from gen_msa.types import Example

PROBE_POSTS = 3
"""Number of posts that are run for the estimate."""


@dataclass(frozen=True)
class CostEstimate:
    """The expected size of a job. None: unknown in advance."""

    posts: int
    requests: int
    """One per aspect; a post without given aspects counts as one."""
    first_request: RequestPreview | None
    """The first request."""
    tokens: tuple[float, float] | None
    """Tokens of all prompts, and of all answers."""
    seconds: float | None
    cost: float | None
    probed: int
    """Posts that were run for the estimate; 0: the first ones were all in the cache."""


def estimate_cost(
    source: ExampleSource,
    settings: AnnotateSettings,
    teacher: Teacher,
    cache_path: Path | None,
    reuse_cache: Sequence[Path] = (),
) -> CostEstimate:
    """Count the requests of a job, run the first `PROBE_POSTS` posts, and extrapolate.

    Args:
        source: The posts.
        settings: The job.
        teacher: Runs the probe.
        cache_path: Gets the answers of the probe; None runs no probe.
        reuse_cache: Answer caches of other runs, read only.

    Returns:
        The expected size and cost of the job.
    """
    source = with_fixed_aspects(source, settings.fixed_aspects)
    posts, requests, sample = _count_questions(source, settings)
    previews = teacher.preview([visible_to_teacher(settings, e) for e in sample])
    probe = _EstimateSample()
    if cache_path is not None:
        with AnswerCache(cache_path, reuse_cache) as cache:
            probe = _run_probe(source, settings, teacher, cache)
    scale = requests / probe.requests if probe.requests else 0.0
    tokens = None
    if probe.prompt_tokens:
        tokens = probe.prompt_tokens * scale, probe.answer_tokens * scale
    elif previews and previews[0].tokens is not None:
        counts = [s.tokens for s in previews if s.tokens is not None]
        tokens = sum(counts) / len(counts) * requests, 0.0
    prices = settings.prices
    return CostEstimate(
        posts=posts,
        requests=requests,
        first_request=previews[0] if previews else None,
        tokens=tokens,
        seconds=probe.seconds * scale / settings.workers if scale else None,
        cost=prices.cost(*tokens) if prices and tokens and probe.prompt_tokens else None,
        probed=probe.posts,
    )


@dataclass
class _EstimateSample:
    posts: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0


def _count_questions(
    source: ExampleSource, settings: AnnotateSettings
) -> tuple[int, int, list[Example]]:
    """Return the numbers of posts and requests, and the first posts of the source."""
    posts = requests = 0
    sample: list[Example] = []
    for row in islice(source.rows(), settings.limit):
        if isinstance(row, Example):
            has_given_aspects = settings.aspects in ("auto", "given")
            posts, requests = (
                posts + 1,
                requests + max(len(row.post.aspects) * has_given_aspects, 1),
            )
            sample += [row] if len(sample) < PROBE_POSTS else []
    return posts, requests, sample


def _run_probe(
    source: ExampleSource, settings: AnnotateSettings, teacher: Teacher, cache: AnswerCache
) -> _EstimateSample:
    """Run the first posts that are not in the cache."""
    probe = _EstimateSample()
    probe_settings = settings.model_copy(
        update={"limit": min(PROBE_POSTS, settings.limit or PROBE_POSTS)}
    )
    for pending, unanswered in pending_chunks(
        source, probe_settings, fingerprint_key(teacher.fingerprint()), cache
    ):
        if not unanswered:
            continue
        began = time.perf_counter()
        predictions = teacher.predict(unanswered)
        probe.seconds += time.perf_counter() - began
        new_keys = [k for k in pending.keys if k not in pending.cached]
        put_answers(cache, dict(zip(new_keys, predictions, strict=True)))
        probe.posts += len(unanswered)
        for prediction in predictions:
            probe.requests += len({o.aspect for o in prediction.opinions})
            for prompt_tokens, answer_tokens in filter(
                None, map(token_counts, prediction.opinions)
            ):
                probe.prompt_tokens, probe.answer_tokens = (
                    probe.prompt_tokens + prompt_tokens,
                    probe.answer_tokens + answer_tokens,
                )
    return probe
