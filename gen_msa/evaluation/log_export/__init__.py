"""Sample logs for the viewers of other tools: lm-evaluation-harness and inspect_ai.

They are made from what an evaluation writes, results.json and samples.jsonl; neither tool is
needed. Rows without a gold polarity, and predictions about aspects that gold does not have, are in
no log, as they are in no label metric.

    from gen_msa.evaluation.log_export import export_logs
    export_logs(Path("evaluations/twitter2015/results.json"), "inspect", Path("logs"))
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from gen_msa import jsonl
from gen_msa.errors import UserError, did_you_mean, user_errors
from gen_msa.evaluation.log_export import inspect_ai, lm_eval
from gen_msa.evaluation.log_export.samples import SystemLog, build_log
from gen_msa.results import EvaluationResult
from gen_msa.types import Example, Rejected

LOG_FORMATS = {"lm-eval": lm_eval.write, "inspect": inspect_ai.write}


def export_logs(
    results: Path,
    log_format: str,
    out_dir: Path,
    *,
    systems: Iterable[str] = (),
    samples: Path | None = None,
    created_at: datetime | None = None,
) -> list[Path]:
    """Write the logs of some systems.

    Args:
        results: results.json of an evaluation.
        log_format: `inspect` or `lm-eval`.
        out_dir: Folder for the logs.
        systems: Names of the systems; none: all.
        samples: samples.jsonl; None: the one beside the results.
        created_at: Time in file names and logs; None: now.

    Returns:
        The files written.

    Raises:
        UserError: An unknown format or system, or samples that do not belong to the results.
    """
    if log_format not in LOG_FORMATS:
        raise UserError(
            f"no log format named {log_format!r}", hint=did_you_mean(log_format, LOG_FORMATS)
        )
    jsonl.check_folder_writable(out_dir, hint="give another folder: --out")
    result = read_result(results)
    examples = _read_examples(samples or results.with_name("samples.jsonl"))
    timestamp = (created_at or datetime.now(UTC)).replace(microsecond=0)
    logs = _build_logs(result, examples, list(systems), timestamp)
    return [path for log in logs for path in LOG_FORMATS[log_format](log, out_dir)]


def read_result(path: Path) -> EvaluationResult:
    """Read results.json. Raises `UserError` that says what is wrong with the file."""
    with user_errors(path, hint="check the path"):
        content = path.read_bytes()
    with user_errors(
        path, "is not a results file", hint="give the results.json that gen-msa evaluate wrote"
    ):
        return EvaluationResult.model_validate_json(content)


def _build_logs(
    result: EvaluationResult, examples: list[Example], names: list[str], timestamp: datetime
) -> list[SystemLog]:
    system_names = [r.name for r in result.systems]
    for name in names:
        if name not in system_names:
            raise UserError(f"no system called {name!r}", hint=did_you_mean(name, system_names))
    annotators = {o.annotator for e in examples for o in e.opinions}
    # The mean over seeds is a row of the table without opinions of its own.
    selected = names or [n for n in system_names if n in annotators]
    missing = [n for n in selected if n not in annotators]
    if missing or not selected:
        raise UserError(f"the samples hold no opinions by {', '.join(missing or system_names)}")
    return [build_log(result, name, examples, timestamp) for name in selected]


def _read_examples(path: Path) -> list[Example]:
    if not path.is_file():
        raise UserError(f"{path} does not exist", hint="give the samples.jsonl of the same run")
    examples = []
    for row in jsonl.read(path, Example):
        if isinstance(row, Rejected):
            raise UserError(f"{path}, line {row.line}: {row.reason}")
        examples.append(row)
    return examples
