"""Logs in the format of lm-evaluation-harness 0.4: results_*.json and samples_*.jsonl.

An answer that could not be parsed is `[invalid]` in `filtered_resps`, as the filters of that tool
write it. The prompt is named, not included: `arguments` has the post and the aspect. Standard
errors are not computed; the metrics have intervals instead.

    write(log, Path("logs"))
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gen_msa.evaluation.log_export.samples import CORRECT, LoggedSample, SystemLog
from gen_msa.jsonl import atomic_write

INVALID_ANSWER = "[invalid]"
LM_EVAL_VERSION = "0.4.13"
"""The version whose file format is followed; the tool itself was not run."""


def write(log: SystemLog, out_dir: Path) -> list[Path]:
    """Write the two files of one system into a folder named after it.

    Args:
        log: The system's samples and metrics.
        out_dir: Parent of the folder.

    Returns:
        The files written: results, samples.
    """
    folder = out_dir / _sanitize_name(log.system.name)
    date = log.timestamp.replace(tzinfo=None).isoformat().replace(":", "-")
    results = folder / f"results_{date}.json"
    samples = folder / f"samples_{log.task}_{date}.jsonl"
    hashes = hashlib.sha256()
    with atomic_write(samples) as f:
        for row in sample_rows(log):
            hashes.update((row["doc_hash"] + row["prompt_hash"] + row["target_hash"]).encode())
            f.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    with atomic_write(results) as f:
        summary = _results(log) | {"task_hashes": {log.task: hashes.hexdigest()}}
        f.write(json.dumps(summary, ensure_ascii=False, indent=2).encode())
    return [results, samples]


def sample_rows(log: SystemLog) -> Iterator[dict[str, Any]]:
    """Yield the content of each line of the samples file."""
    for number, sample in enumerate(log.samples):
        doc = _doc(sample)
        arguments = {
            "arg_0": sample.post.text,
            "arg_1": {"aspect": sample.aspect, **sample.provenance},
        }
        yield {
            "doc_id": number,
            "doc": doc,
            "target": str(sample.target),
            "arguments": {"gen_args_0": arguments},
            "resps": [[sample.raw]],
            "filtered_resps": [str(sample.answer or INVALID_ANSWER)],
            "filter": "none",
            "metrics": ["accuracy", "read_rate"],
            "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
            "prompt_hash": _hash(json.dumps(arguments, ensure_ascii=False)),
            "target_hash": _hash(str(sample.target)),
            "accuracy": float(sample.verdict == CORRECT),
            "read_rate": float(sample.answer is not None),
        }


def _doc(sample: LoggedSample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "post": sample.post.id,
        "text": sample.post.text,
        "aspect": sample.aspect,
        "start": sample.start,
        "media": [m.path for m in sample.post.media],
        "status": sample.status,
        "explanation": sample.explanation,
        "probs": sample.probs,
    }


def _results(log: SystemLog) -> dict[str, Any]:
    result, task, n = log.result, log.task, len(log.samples)
    units = {f"{d.family}.{d.name}": d for d in result.definitions}
    better = {m: units[m].better == "high" for m in log.metrics if m in units and units[m].better}
    return {
        "results": {task: _metric_entries(log)},
        "group_subtasks": {task: []},
        "configs": {task: _config(log)},
        "versions": {task: 1},
        "n-shot": {task: 0},
        "higher_is_better": {task: better},
        "n-samples": {task: {"original": n, "effective": n}},
        "config": {
            "model": log.system.model,
            "model_args": log.system.fingerprint,
            "random_seed": result.seed,
        },
        "git_hash": None,
        "date": log.timestamp.timestamp(),
        "lm_eval_version": LM_EVAL_VERSION,
        "written_by": f"gen_msa {result.version}",
        "model_source": "gen_msa",
        "model_name": log.system.name,
        "model_name_sanitized": _sanitize_name(log.system.name),
    }


def _metric_entries(log: SystemLog) -> dict[str, Any]:
    metrics: dict[str, Any] = {"alias": log.task}
    for name, parts in log.metrics.items():
        metrics[f"{name},none"] = parts["value"]
        metrics[f"{name}_stderr,none"] = "N/A"
        metrics |= {f"{name}_{k},none": parts[k] for k in ("low", "high") if k in parts}
    return metrics


def _config(log: SystemLog) -> dict[str, Any]:
    data_metadata = {"data_sha256": log.result.data_sha256, "reference": log.result.reference}
    return {
        "task": log.task,
        "dataset_path": log.result.data,
        "output_type": "generate_until",
        "metadata": {"version": 1, "n_excluded": log.n_excluded, **data_metadata},
    }


def _sanitize_name(name: str) -> str:
    """Make a folder name of a model name, as that tool does."""
    return re.sub(r'["<>:/|\\?*\[\]]+', "__", name)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
