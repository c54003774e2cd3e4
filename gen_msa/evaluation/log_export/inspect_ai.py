"""A log in the format of inspect_ai (EvalLog version 2, JSON), for `inspect view`.

An answer that could not be parsed is NOANSWER, `N`, with a reason; a wrong one is `I`. Both count
0. The prompt is named in the metadata of the sample.

    write(log, Path("logs"))      # then: inspect view --log-dir logs
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from gen_msa.evaluation.log_export.samples import LoggedSample, SystemLog, slug
from gen_msa.jsonl import atomic_write
from gen_msa.types import Polarity, Status

SCORER = "polarity"
_NO_ANSWER_REASONS = {
    str(Status.UNPARSED): "invalid_response_format",
    str(Status.LENGTH): "invalid_response_format",
    str(Status.EMPTY): "no_response",
    str(Status.ERROR): "no_response",
    "missing": "no_response",
}


def write(log: SystemLog, out_dir: Path) -> list[Path]:
    """Write the log file of one system, named as inspect names its logs.

    Args:
        log: The system's samples and metrics.
        out_dir: Folder for the file.

    Returns:
        The file written.
    """
    identity = f"{log.result.data_sha256} {log.system.name} {log.timestamp.isoformat()}"
    log_id = hashlib.sha256(identity.encode()).hexdigest()[:22]
    timestamp = log.timestamp.isoformat().replace(":", "-")
    task = slug(f"{log.task} {log.system.name}")
    path = out_dir / f"{timestamp}_{task}_{log_id}.json"
    with atomic_write(path) as f:
        f.write(json.dumps(_eval_log(log, log_id), ensure_ascii=False, indent=1).encode())
    return [path]


def _eval_log(log: SystemLog, log_id: str) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": _spec(log, log_id),
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {
            "total_samples": len(log.samples),
            "completed_samples": len(log.samples),
            "scores": [_score(log)],
        },
        "stats": {
            "started_at": log.timestamp.isoformat(),
            "completed_at": log.timestamp.isoformat(),
            "model_usage": {},
        },
        "samples": [_sample(s, log.system.model) for s in log.samples],
    }


def _spec(log: SystemLog, log_id: str) -> dict[str, Any]:
    result = log.result
    return {
        "eval_id": log_id,
        "run_id": log_id,
        "task_id": log_id,
        "created": log.timestamp.isoformat(),
        "task": log.task,
        "task_version": 0,
        "dataset": {
            "name": result.data,
            "samples": len(log.samples),
            "sample_ids": [s.id for s in log.samples],
            "shuffled": False,
        },
        "model": log.system.model,
        "config": {},
        "packages": {"gen_msa": result.version},
        "metadata": {
            "system": log.system.name,
            "fingerprint": log.system.fingerprint,
            "data_sha256": result.data_sha256,
            "reference": result.reference,
            "seed": result.seed,
            "n_excluded": log.n_excluded,
        },
    }


def _score(log: SystemLog) -> dict[str, Any]:
    metrics = {
        name: {"name": name, "value": parts["value"], "metadata": _without_value(parts)}
        for name, parts in log.metrics.items()
    }
    n_no_answer = sum(s.answer is None for s in log.samples)
    return {
        "name": SCORER,
        "scorer": SCORER,
        "params": {},
        "metrics": metrics,
        "metadata": {"no_answer": n_no_answer},
    }


def _sample(sample: LoggedSample, model: str) -> dict[str, Any]:
    aspect_text = sample.aspect or "the post as a whole"
    user_message = f"{sample.post.text}\n\nAspect: {aspect_text}"
    assistant_message = {
        "role": "assistant",
        "content": sample.raw,
        "model": model,
        "source": "generate",
    }
    stop = "max_tokens" if sample.status == str(Status.LENGTH) else "stop"
    return {
        "id": sample.id,
        "epoch": 1,
        "input": user_message,
        "choices": [str(p) for p in Polarity],
        "target": str(sample.target),
        "messages": [
            {"role": "user", "content": user_message, "source": "input"},
            assistant_message,
        ],
        "output": {
            "model": model,
            "choices": [{"message": assistant_message, "stop_reason": stop}],
            "completion": sample.raw,
        },
        "scores": {SCORER: _score_entry(sample)},
        "metadata": {
            "post": sample.post.id,
            "aspect": sample.aspect,
            "start": sample.start,
            "media": [m.path for m in sample.post.media],
            "status": sample.status,
            "probs": sample.probs,
            "provenance": sample.provenance,
        },
        "store": {},
        "events": [],
        "model_usage": {},
        "attachments": {},
    }


def _score_entry(sample: LoggedSample) -> dict[str, Any]:
    score: dict[str, Any] = {"value": sample.verdict, "explanation": sample.explanation or None}
    if sample.answer is None:
        score |= {"answer": None, "reason": _NO_ANSWER_REASONS.get(sample.status, sample.status)}
    else:
        score |= {"answer": str(sample.answer)}
    return score


def _without_value(parts: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in parts.items() if k != "value"}
