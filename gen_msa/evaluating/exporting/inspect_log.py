"""A log as inspect_ai writes it (EvalLog version 2, JSON), for `inspect view`.

An answer that could not be read is NOANSWER, `N`, with a reason; a wrong one is `I`. Both count 0.
Which prompt was shown is named in the sample's metadata. Knows nothing of how rows were found.

    write(log, Path("logs"))      # then: inspect view --log-dir logs
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from gen_msa.evaluating.exporting.samples import Log, Sample, slug
from gen_msa.jsonl import whole
from gen_msa.types import Polarity, Status

SCORER = "polarity"
_REASONS = {
    str(Status.UNPARSED): "invalid_response_format",
    str(Status.LENGTH): "invalid_response_format",
    str(Status.EMPTY): "no_response",
    str(Status.ERROR): "no_response",
    "silent": "no_response",
}


def write(log: Log, out: Path) -> list[Path]:
    """The one file of one reader, named as inspect names its logs."""
    key = f"{log.result.data_sha256} {log.reader.name} {log.moment.isoformat()}"
    ident = hashlib.sha256(key.encode()).hexdigest()[:22]
    when = log.moment.isoformat().replace(":", "-")
    task = slug(f"{log.task} {log.reader.name}")
    path = out / f"{when}_{task}_{ident}.json"
    with whole(path) as f:
        f.write(json.dumps(_log(log, ident), ensure_ascii=False, indent=1).encode())
    return [path]


def _log(log: Log, ident: str) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": _spec(log, ident),
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {
            "total_samples": len(log.samples),
            "completed_samples": len(log.samples),
            "scores": [_score(log)],
        },
        "stats": {
            "started_at": log.moment.isoformat(),
            "completed_at": log.moment.isoformat(),
            "model_usage": {},
        },
        "samples": [_sample(s, log.reader.reader) for s in log.samples],
    }


def _spec(log: Log, ident: str) -> dict[str, Any]:
    result = log.result
    return {
        "eval_id": ident,
        "run_id": ident,
        "task_id": ident,
        "created": log.moment.isoformat(),
        "task": log.task,
        "task_version": 0,
        "dataset": {
            "name": result.data,
            "samples": len(log.samples),
            "sample_ids": [s.id for s in log.samples],
            "shuffled": False,
        },
        "model": log.reader.reader,
        "config": {},
        "packages": {"gen_msa": result.version},
        "metadata": {
            "reader": log.reader.name,
            "facts": log.reader.facts,
            "data_sha256": result.data_sha256,
            "against": result.against,
            "seed": result.seed,
            "left_out": log.left_out,
        },
    }


def _score(log: Log) -> dict[str, Any]:
    metrics = {
        name: {"name": name, "value": parts["value"], "metadata": _but_value(parts)}
        for name, parts in log.metrics.items()
    }
    unread = sum(s.answer is None for s in log.samples)
    return {
        "name": SCORER,
        "scorer": SCORER,
        "params": {},
        "metrics": metrics,
        "metadata": {"no_answer": unread},
    }


def _sample(sample: Sample, model: str) -> dict[str, Any]:
    about = sample.aspect or "the post as a whole"
    asked = f"{sample.post.text}\n\nAspect: {about}"
    told = {"role": "assistant", "content": sample.raw, "model": model, "source": "generate"}
    stop = "max_tokens" if sample.status == str(Status.LENGTH) else "stop"
    return {
        "id": sample.id,
        "epoch": 1,
        "input": asked,
        "choices": [str(p) for p in Polarity],
        "target": str(sample.target),
        "messages": [{"role": "user", "content": asked, "source": "input"}, told],
        "output": {
            "model": model,
            "choices": [{"message": told, "stop_reason": stop}],
            "completion": sample.raw,
        },
        "scores": {SCORER: _verdict(sample)},
        "metadata": {
            "post": sample.post.id,
            "aspect": sample.aspect,
            "start": sample.start,
            "media": [m.path for m in sample.post.media],
            "status": sample.status,
            "probs": sample.probs,
            "how": sample.how,
        },
        "store": {},
        "events": [],
        "model_usage": {},
        "attachments": {},
    }


def _verdict(sample: Sample) -> dict[str, Any]:
    score: dict[str, Any] = {"value": sample.verdict, "explanation": sample.explanation or None}
    if sample.answer is None:
        score |= {"answer": None, "reason": _REASONS.get(sample.status, sample.status)}
    else:
        score |= {"answer": str(sample.answer)}
    return score


def _but_value(parts: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in parts.items() if k != "value"}
