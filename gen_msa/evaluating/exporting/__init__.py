"""Sample logs for other tools' viewers: lm-evaluation-harness and inspect_ai.

Takes what an evaluation wrote, results.json and samples.jsonl, and needs neither tool. Rows whose
gold has no polarity, and aspects that gold has not, are in no log, as they are in no figure of
labels. Knows nothing of readers.

    from gen_msa.evaluating.exporting import export
    export(Path("evaluations/twitter2015/results.json"), "inspect", Path("logs"))
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from gen_msa import jsonl
from gen_msa.errors import UserError, did_you_mean
from gen_msa.evaluating.exporting import inspect_log, lm_eval
from gen_msa.evaluating.exporting.samples import Log, log_of
from gen_msa.results import Result
from gen_msa.types import Example, Rejected

FORMATS = {"lm-eval": lm_eval.write, "inspect": inspect_log.write}


def export(
    results: Path,
    to: str,
    out: Path,
    *,
    readers: Iterable[str] = (),
    samples: Path | None = None,
    when: datetime | None = None,
) -> list[Path]:
    """Write the logs of some readers (none named: of all) into the folder `out`; the files written.

    `samples` is samples.jsonl beside the results unless given; `when` stands in names and logs.
    Raises `UserError` for an unknown format or reader, and when the samples are not of the results.
    """
    if to not in FORMATS:
        raise UserError(f"no log format named {to!r}", mend=did_you_mean(to, FORMATS))
    result = read_result(results)
    examples = _examples(samples or results.with_name("samples.jsonl"))
    moment = (when or datetime.now(UTC)).replace(microsecond=0)
    logs = _logs(result, examples, list(readers), moment)
    return [path for log in logs for path in FORMATS[to](log, out)]


def read_result(path: Path) -> Result:
    """`results.json` as a `Result`. Raises `UserError` with what is wrong with it."""
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}") from None
    except ValidationError as e:
        raise UserError(
            f"{path} holds no results: {jsonl.reason_of(e)}",
            mend="name the results.json that gen-msa evaluate wrote",
        ) from None


def _logs(result: Result, examples: list[Example], names: list[str], moment: datetime) -> list[Log]:
    known = [r.name for r in result.readers]
    for name in names:
        if name not in known:
            raise UserError(f"no reader called {name!r}", mend=did_you_mean(name, known))
    spoke = {o.by for e in examples for o in e.opinions}
    # The mean over seeds is a row of the table and said nothing itself.
    wanted = names or [n for n in known if n in spoke]
    silent = [n for n in wanted if n not in spoke]
    if silent or not wanted:
        raise UserError(f"the samples hold no opinion by {', '.join(silent or known)}")
    return [log_of(result, name, examples, moment) for name in wanted]


def _examples(path: Path) -> list[Example]:
    if not path.is_file():
        raise UserError(f"{path} is not there", mend="name the samples that stand by the results")
    found = []
    for row in jsonl.read(path, Example):
        if isinstance(row, Rejected):
            raise UserError(f"{path}, line {row.line}: {row.reason}")
        found.append(row)
    return found
