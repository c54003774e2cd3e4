"""Run an evaluation for the terminal: models predict into files, and the files are compared.

OUT/systems/NAME.jsonl holds the predictions of each model, OUT/results.json all metrics,
OUT/samples.jsonl every post with all opinions. OUT/report.html, metrics.md and metrics.csv are made
from these. OUT/suite.yaml holds the merged settings.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from gen_msa import jsonl, settings
from gen_msa.cli._evaluation_models import ModelRunner, ProbeMetrics, file_slug
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.evaluation import (
    EvaluationData,
    add_system_outputs,
    check_suite,
    evaluate,
    load_examples,
    model_card,
    published,
    suite,
    systems_in_data,
)
from gen_msa.evaluation.suite import Suite
from gen_msa.report.evaluation import (
    markdown_table,
    metrics_table,
    write_evaluation,
    write_metrics_csv,
)
from gen_msa.results import EvaluationResult


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of `gen-msa evaluate`, unmerged."""

    target: str
    settings: Sequence[str]
    models: Sequence[str]
    seeds: Sequence[str]
    reference: str | None

    def suite(self) -> Suite:
        """Return the named suite, or a suite for the given posts, with all options applied.

        Raises:
            UserError: A setting is unknown or invalid, or `--seeds` has no single model.
        """
        if self.seeds and len(self.models) != 1:
            raise UserError("--seeds needs exactly one --model", hint="list the others in a suite")
        is_suite = self.target in suite.names() or Path(self.target).suffix in (".yaml", ".yml")
        overrides = [
            *self.settings,
            *([f"reference={_yaml_string(self.reference)}"] if self.reference else []),
        ]
        if is_suite:
            loaded_suite = suite.load(self.target, overrides)
        else:
            loaded_suite = settings.load(
                Suite, None, [f"data={_yaml_string(self.target)}", *overrides]
            )
        if not self.models:
            return loaded_suite
        entries = [entry for model in self.models for entry in self._entries(model, loaded_suite)]
        fields = loaded_suite.model_dump(exclude_unset=True) | {"models": entries}
        return settings.build(Suite, fields, "the command line")

    def _entries(self, model: str, loaded_suite: Suite) -> list[dict[str, Any]]:
        """Return the suite entries of one --model, with the settings that the suite gives them."""
        suite_entries = [
            e.model_dump(exclude_unset=True) for e in loaded_suite.models if e.model == model
        ]
        seeds = {"seeds": list(self.seeds)} if self.seeds else {}
        return [entry | seeds for entry in suite_entries or [{"model": model}]]


def _yaml_string(text: str) -> str:
    """Quote text as a YAML string: `7`, `no` and `a #b.jsonl` stay strings."""
    return json.dumps(text, ensure_ascii=False)


def run(options: EvaluateOptions, out: Path | None, card: Path | None, *, no_cache: bool) -> int:
    """Run the models, compare them and write the results.

    Args:
        options: The command line.
        out: The output folder; default: `evaluations/TITLE`.
        card: A model card that gets the metrics of the first model.
        no_cache: Ignore and overwrite answers of earlier runs.

    Returns:
        The exit code, 0.
    """
    evaluation_suite = options.suite()
    console, source = Console(stderr=True), open_examples(evaluation_suite.data)
    # Check everything that needs no model first: running the models may take hours.
    published_results, base_data = (
        published.load(evaluation_suite.published),
        load_examples(source, evaluation_suite.limit),
    )
    check_suite(evaluation_suite, base_data)
    folder = _make_folder(
        out or Path("evaluations") / file_slug(evaluation_suite.title or evaluation_suite.data)
    )
    runner = ModelRunner(evaluation_suite, source, folder, console)
    model_outputs = runner.run_models(no_cache=no_cache)
    data = add_system_outputs(base_data, model_outputs)
    outputs = model_outputs or systems_in_data(evaluation_suite, data)
    probe_metrics = _merge_probes(runner.run_probes(data), runner.run_judge(data, outputs))
    outputs = runner.add_costs(data, outputs)
    result = evaluate(
        evaluation_suite, data, outputs, published=published_results, probes=probe_metrics
    )
    _write_outputs(evaluation_suite, result, data, folder)
    if card is not None:
        model_card.update_model_card(card, result, result.systems[0].name)
    Console().print(metrics_table(result))
    for path in (*(folder / n for n in ("report.html", "results.json", "samples.jsonl")), card):
        if path is not None:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)
    return 0


def _make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"{path} cannot be a folder: {e}", hint="give another one: --out") from e
    return path


def _merge_probes(first: ProbeMetrics, second: ProbeMetrics) -> ProbeMetrics:
    return {name: first.get(name, {}) | second.get(name, {}) for name in {**first, **second}}


def _write_outputs(
    evaluation_suite: Suite, result: EvaluationResult, data: EvaluationData, folder: Path
) -> None:
    settings.save(evaluation_suite, folder / "suite.yaml")
    with jsonl.atomic_write(folder / "samples.jsonl") as f:
        for example in data.examples:
            f.write(example.model_dump_json().encode() + b"\n")
    with jsonl.atomic_write(folder / "results.json") as f:
        f.write(result.model_dump_json(indent=1).encode() + b"\n")
    (folder / "metrics.md").write_text(markdown_table(result), encoding="utf-8")
    write_metrics_csv(result, folder / "metrics.csv")
    write_evaluation(result, data.examples, folder / "report.html", data.media_root)
