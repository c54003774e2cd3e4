"""The evaluation in a model card: a Markdown section and the `model-index` of Hugging Face.

Both replace what an earlier run wrote; nothing else in the card changes. The section stands between
two comments that name its data. In the front matter only the block `model-index` is rewritten, and
its entries for other data are kept.

    update_model_card(Path("README.md"), result, "builtin")
    print(render_section(result, "builtin"))
"""

import re
from pathlib import Path
from typing import Any

import yaml

from gen_msa.errors import UserError, did_you_mean, user_errors
from gen_msa.jsonl import atomic_write
from gen_msa.results import EvaluationResult, MetricDefinition, MetricValue, SystemResult
from gen_msa.settings import parse_yaml

TASKS = {"type": "text-classification", "name": "Aspect-based sentiment"}
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\r?$\n?", re.S | re.M)
_MODEL_INDEX = re.compile(r"^model-index:.*?(?=(?:^#.*\n)*^[^\s#-]|\Z)", re.S | re.M)


def update_model_card(card: Path, result: EvaluationResult, system: str) -> None:
    """Write or replace the evaluation of one system on one data set in a model card.

    Args:
        card: The card; created if it does not exist.
        result: The evaluation.
        system: Name of the system.

    Raises:
        UserError: An unknown system, or a card whose front matter or comments are broken.
    """
    section = render_section(result, system)
    entry = model_index_entry(result, system)
    text = card.read_text(encoding="utf-8") if card.exists() else f"# {system}\n"
    text = _replace_section(text, section, result.data, card)
    text = _replace_model_index(text, entry, card)
    with atomic_write(card) as f:
        f.write(text.encode())


def render_section(result: EvaluationResult, system: str) -> str:
    """Render the Markdown section, without the enclosing comments; ends with a line break.

    Args:
        result: The evaluation.
        system: Name of the system.

    Returns:
        The Markdown text.

    Raises:
        UserError: An unknown system.
    """
    system_result = _find_system(result, system)
    prompt = system_result.fingerprint.get("prompt")
    clusters = f"{result.clusters:,} clusters by {result.clustered_by}"
    rows = (
        f"{system_result.rows:,} aspects of {system_result.posts:,} posts ({clusters}), "
        f"reference: {result.reference}"
    )
    facts = [
        rows,
        f"data sha256 `{result.data_sha256}`",
        f"seed {result.seed}, {result.replicates:,} replicates, gen_msa {result.version}",
        *([f"prompt `{prompt}`"] if isinstance(prompt, str) else []),
        *(
            [f"{system_result.n_missing:,} aspects without an answer; each counts as wrong"]
            if system_result.n_missing
            else []
        ),
    ]
    lines = [f"### Evaluation on {_escape_cell(result.data)}", ""]
    lines += [f"- {f}" for f in facts] + [""]
    lines += ["| metric | value | 95 % interval | n |", "|---|---:|---:|---:|"]
    lines += [_table_row(d, v) for d, v in _metric_values(result, system_result)]
    interval_methods = dict.fromkeys(
        v.method for _, v in _metric_values(result, system_result) if v.method
    )
    notes = [
        *(f"Intervals: {method}." for method in interval_methods),
        *system_result.notes,
        *result.notes,
    ]
    lines += ["", *(f"- {_escape_cell(n)}" for n in notes)]
    return "\n".join(lines).rstrip() + "\n"


def model_index_entry(result: EvaluationResult, system: str) -> dict[str, Any]:
    """Build one entry of `results` in a `model-index`, as `huggingface_hub` reads it.

    Shares are given as percentages, as is usual there.

    Args:
        result: The evaluation.
        system: Name of the system.

    Returns:
        Task, dataset and metrics.

    Raises:
        UserError: An unknown system.
    """
    system_result = _find_system(result, system)
    name, _, split = result.data.partition(":")
    dataset = {"type": name, "name": result.title or name, "revision": result.data_sha256}
    metrics = [
        {
            "type": d.name,
            "value": round(_display_value(d, v.value), 4),
            "name": f"{d.family}.{d.name}",
            "verified": False,
        }
        for d, v in _metric_values(result, system_result)
        if v.value is not None
    ]
    return {
        "task": dict(TASKS),
        "dataset": dataset | ({"split": split} if split else {}),
        "metrics": metrics,
    }


def _find_system(result: EvaluationResult, name: str) -> SystemResult:
    systems = {r.name: r for r in result.systems}
    if name not in systems:
        raise UserError(f"no system called {name!r}", hint=did_you_mean(name, systems))
    return systems[name]


def _metric_values(
    result: EvaluationResult, system: SystemResult
) -> list[tuple[MetricDefinition, MetricValue]]:
    """Return the metrics of a system in the order printed."""
    values = system.metrics
    return [
        (d, values[d.family][d.name])
        for d in result.definitions
        if d.name in values.get(d.family, {})
    ]


def _table_row(d: MetricDefinition, v: MetricValue) -> str:
    name = f"`{d.family}.{d.name}`" + (" (%)" if d.unit == "share" else "")
    if v.value is None:
        return f"| {name} | – | {_escape_cell(v.note)} | {v.n:,} |"
    digits = 1 if d.unit in ("share", "points", "words") else 3
    interval_ends = [_display_value(d, x) for x in (v.low, v.high) if x is not None]
    interval = " – ".join(f"{x:.{digits}f}" for x in interval_ends)
    return f"| {name} | {_display_value(d, v.value):.{digits}f} | {interval} | {v.n:,} |"


def _display_value(d: MetricDefinition, value: float) -> float:
    return 100 * value if d.unit == "share" else value


def _escape_cell(text: str) -> str:
    """Escape text so that it can neither end a cell nor start a tag."""
    single_line = " ".join(text.split())
    return single_line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _replace_section(text: str, section: str, data: str, card: Path) -> str:
    marker = re.sub(r"-{2,}|[<>\s]", "_", data)
    begin, end = f"<!-- gen_msa evaluation: {marker} -->", f"<!-- /gen_msa evaluation: {marker} -->"
    block = f"{begin}\n{section}{end}"
    if begin not in text and end not in text:
        return f"{text.rstrip()}\n\n{block}\n"
    before, _, remainder = text.partition(begin)
    _, end_marker, after = remainder.partition(end)
    if not end_marker or text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(
            f"{card}: the comments {begin} and {end} must occur exactly once each",
            hint="restore them, or remove the section and both comments",
        )
    return before + block + after


def _replace_model_index(text: str, entry: dict[str, Any], card: Path) -> str:
    match = _FRONT_MATTER.match(text)
    front_matter = match[1] if match else ""
    with user_errors(f"{card}: its front matter"):
        metadata = parse_yaml(front_matter) or {}
        [index] = metadata.get("model-index") or [
            {"name": card.resolve().parent.name, "results": []}
        ]
        other_results = [r for r in index["results"] if not _is_same_task(r, entry)]
    tree = {"model-index": [{**index, "results": [*other_results, entry]}]}
    block = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    if _MODEL_INDEX.search(front_matter):
        front_matter = _MODEL_INDEX.sub(lambda _: block, front_matter, count=1)
    else:
        front_matter = f"{front_matter.rstrip()}\n{block}".lstrip()
    return f"---\n{front_matter}---\n" + (text[match.end() :] if match else "\n" + text)


def _is_same_task(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two entries are about the same task on the same split."""
    keys = [
        (e["task"]["type"], e["dataset"]["type"], e["dataset"].get("split"))
        for e in (first, second)
    ]
    return bool(keys[0] == keys[1])
