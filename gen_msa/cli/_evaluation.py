"""Run an evaluation for the terminal: models predict into files, and the files are compared.

OUT/systems/NAME.jsonl holds the predictions of each model, OUT/results.json all metrics,
OUT/samples.jsonl every post with all opinions. OUT/report.html, metrics.md, metrics.tex and
metrics.csv are made from these. OUT/suite.yaml holds the merged settings.
"""

import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gen_msa import jsonl, predictors, settings
from gen_msa.annotation import JobResult, JobSettings, annotate
from gen_msa.answer_cache import AnswerCache
from gen_msa.api.progress import progress_bar
from gen_msa.cli._options import count_noun, print_lines
from gen_msa.cli._sending import confirm_sending
from gen_msa.data import ExampleSource, open_examples
from gen_msa.errors import UserError, user_errors
from gen_msa.evaluation import (
    EvaluationData,
    SystemOutput,
    add_system_outputs,
    check_suite,
    cost,
    evaluate,
    load_examples,
    model_card,
    published,
    suite,
    systems_in_data,
)
from gen_msa.evaluation.llm_judge import (
    Judge,
    judge_pointwise,
    pointwise_metrics,
    read_human_ratings,
    save_judgements,
)
from gen_msa.evaluation.load import PairBuilder
from gen_msa.evaluation.probes import ProbeResult, run_probes
from gen_msa.evaluation.suite import ModelEntry, Suite
from gen_msa.predictors import Prediction, PredictorSettings
from gen_msa.predictors.outgoing import allow_hosts, count_outgoing
from gen_msa.report.evaluation import (
    latex_table,
    markdown_table,
    metrics_table,
    write_evaluation,
    write_metrics_csv,
)
from gen_msa.report.style import unused_line
from gen_msa.results import EvaluationResult, MetricValue, RunCost
from gen_msa.settings import build
from gen_msa.training.seeds import expand_seeds

# The part of an evaluation that runs models: predictions, probes, the judge and costs.

ProbeMetrics = dict[str, dict[str, dict[str, MetricValue]]]
"""System name -> probe -> metric -> value."""


@dataclass(frozen=True)
class ModelRunner:
    """Runs the models of one suite; outputs go below `folder`."""

    suite: Suite
    source: ExampleSource
    folder: Path
    console: Console
    send_to: Sequence[str] = ()
    """Other machines that the user has allowed to get posts."""

    def run_models(self, *, no_cache: bool) -> list[SystemOutput]:
        """Write the predictions of every model (and seed) to a file; reuse cached answers."""
        (self.folder / "systems").mkdir(parents=True, exist_ok=True)
        if no_cache:
            (self.folder / "judge.cache").unlink(missing_ok=True)
        return [
            self._run_model(entry, model, seed, no_cache=no_cache)
            for entry in self.suite.models
            for seed, model in enumerate((entry.model, *entry.seeds))
        ]

    def run_probes(self, data: EvaluationData) -> ProbeMetrics:
        """Return the probe metrics of every model, and write the trials to probes.jsonl.

        Raises:
            UserError: The suite lists no models, so that nothing can be run.
        """
        if not self.suite.probes:
            return {}
        if not self.suite.models:
            raise UserError("probes run models again", hint="list the models in a suite")
        probed_by_system = {
            entry.display_name: self._run_probe(entry, data) for entry in self.suite.models
        }
        _write_jsonl(
            self.folder / "probes.jsonl",
            (
                {"system": system, "probe": name, **trial.model_dump(mode="json")}
                for system, probe_results in probed_by_system.items()
                for name, probe_result in probe_results.items()
                for trial in probe_result.trials
            ),
        )
        return {
            system_name: {
                name: probe_result.metrics for name, probe_result in results_by_name.items()
            }
            for system_name, results_by_name in probed_by_system.items()
        }

    def run_judge(self, data: EvaluationData, outputs: Iterable[SystemOutput]) -> ProbeMetrics:
        """Return the judge's ratings of every system with explanations; write judgements.jsonl.

        Args:
            data: The posts with all opinions.
            outputs: The systems to be judged.
        """
        if self.suite.judge is None:
            return {}
        human = read_human_ratings(self.suite.human_ratings) if self.suite.human_ratings else []
        pairing, judge_metrics = PairBuilder(self.suite, data), {}
        self._print(f"judging with {self.suite.judge.model}")
        with AnswerCache(self.folder / "judge.cache") as cache:
            judge_settings = allow_hosts(self.suite.judge, self.send_to)
            judge = Judge.open(judge_settings, data.media_root, cache)
            judgements = []
            for output in outputs:
                pairs = [p for p in pairing.pairs_of(output.name) if p.explanation]
                stride = max(1, len(pairs) // self.suite.judge_limit)
                sampled_pairs = pairs[::stride][: self.suite.judge_limit]
                if sampled_pairs:
                    ratings = judge_pointwise(judge, sampled_pairs, author=output.fingerprint)
                    judgements += ratings
                    judge_metrics[output.name] = {"judge": pointwise_metrics(ratings, human)}
        save_judgements(judgements, self.folder / "judgements.jsonl")
        return judge_metrics

    def add_costs(
        self, data: EvaluationData, outputs: Sequence[SystemOutput]
    ) -> list[SystemOutput]:
        """Return the outputs with their measured cost, if the suite asks for it (`cost.posts`).

        Args:
            data: The posts.
            outputs: The predictions of each model.

        Raises:
            UserError: The suite lists no models, so that nothing can be measured.
        """
        if not self.suite.cost.posts:
            return list(outputs)
        if not self.suite.models:
            raise UserError("cost.posts runs models again", hint="list the models in a suite")
        jobs = {
            entry.display_name: self._job_settings(entry, entry.model)
            for entry in self.suite.models
        }
        # Other seeds of a model have the same size and speed.
        first_seed_jobs = [(output, jobs[output.name]) for output in outputs if not output.seed_of]
        self._print(f"measuring the cost of {count_noun(len(first_seed_jobs), 'model')}")
        cost_requests = [
            cost.CostTarget(output.name, job.predictor_settings(), output.fingerprint, job.chunk)
            for output, job in first_seed_jobs
        ]
        posts = [e.post for e in data.examples]
        costs_by_name = cost.measure_costs(self.suite.cost, cost_requests, posts, data.media_root)
        return [
            replace(output, cost_benchmark=costs_by_name.get(output.name)) for output in outputs
        ]

    def _run_model(
        self, entry: ModelEntry, model: str, seed: int, *, no_cache: bool
    ) -> SystemOutput:
        name = f"{entry.display_name} ({seed + 1}: {model})" if seed else entry.display_name
        self._print(f"{name}: predicting {self.source.name}")
        job, out_file = (
            self._job_settings(entry, model),
            self.folder / "systems" / f"{_file_name(name)}.jsonl",
        )
        outcome, cost = self._run_job(job, out_file, no_cache=no_cache)
        return SystemOutput(
            name=name,
            file=out_file,
            annotator=job.model,
            model=model,
            fingerprint=outcome.fingerprint,
            cost=cost,
            seed_of=entry.display_name if seed else "",
            exceeds_error_rate=outcome.exceeds_error_rate(job),
        )

    def _job_settings(self, entry: ModelEntry, model: str) -> JobSettings:
        fields = {**self.suite.settings, **entry.settings, "model": model}
        if not self.suite.reads_explanations():
            fields.setdefault("explanations", False)
        if self.suite.limit is not None:
            fields["limit"] = self.suite.limit
        job = build(JobSettings, fields, f"the suite's model {entry.display_name!r}")
        return allow_hosts(job, self.send_to)

    def confirm_sending(self, data: EvaluationData, *, yes: bool) -> "ModelRunner":
        """Return a runner that may send posts where the models, probes and judge are.

        Args:
            data: The posts.
            yes: The user has agreed (`--yes`).

        Raises:
            UserError: The user has not agreed, or nobody can be asked.
        """
        jobs = [
            self._job_settings(entry, model)
            for entry in self.suite.models
            for model in (entry.model, *entry.seeds)
        ]
        others = self.suite.model_copy(update={"models": (), "settings": {}})
        rated = " and the explanations of each system" if self.suite.judge else ""

        def describe() -> str:
            source = ExampleSource(data.name, data.media_root, lambda: iter(data.examples))
            return count_outgoing(source).describe() + rated

        hosts = confirm_sending([*jobs, others], describe, yes=yes)
        return replace(self, send_to=hosts, suite=_allow_probes(self.suite, hosts))

    def _run_job(
        self, job: JobSettings, file: Path, *, no_cache: bool
    ) -> tuple[JobResult, RunCost]:
        cache_path = file.with_suffix(".cache")
        if no_cache:
            cache_path.unlink(missing_ok=True)
        started, cpu_started = time.perf_counter(), time.process_time()
        with progress_bar(self.source, job.limit, self.console) as on_progress:
            outcome = annotate(
                self.source, file, job, cache_path=cache_path, on_progress=on_progress
            )
        cost = RunCost(posts=outcome.counts.written)
        if not outcome.counts.from_cache:
            timing = {
                "seconds": time.perf_counter() - started,
                "cpu_seconds": time.process_time() - cpu_started,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            }
            cost = cost.model_copy(update=timing)
        return outcome, cost

    def _run_probe(self, entry: ModelEntry, data: EvaluationData) -> dict[str, ProbeResult]:
        self._print(f"{entry.display_name}: running probes")
        settings = self.probe_settings(entry)
        return run_probes(
            self.suite.probe_options(),
            predictors.make(settings, data.media_root),
            settings,
            data.examples,
            [Prediction(e.opinions_by(entry.display_name)) for e in data.examples],
            data.media_root,
            reference=self.suite.reference,
            cluster=self.suite.cluster,
            seed=self.suite.seed,
            limit=self.suite.probe_limit,
            replicates=self.suite.replicates,
        )

    def probe_settings(self, entry: ModelEntry) -> PredictorSettings:
        """Return predictor settings for probes; without explanations, which no probe measures."""
        return self._job_settings(entry, entry.model).predictor_settings().labels_only()

    def _print(self, text: str) -> None:
        print_lines(self.console, [text])


def _allow_probes(evaluation_suite: Suite, hosts: Sequence[str]) -> Suite:
    """Return the suite with probes that may send posts to these hosts."""
    only_probes = evaluation_suite.model_copy(update={"models": (), "settings": {}, "judge": None})
    return evaluation_suite.model_copy(update={"probes": allow_hosts(only_probes, hosts).probes})


def file_slug(name: str) -> str:
    """Return a readable file name for `name`: no path separators, at most 100 bytes."""
    cleaned = re.sub(r"[^\w.@-]+", "_", name).strip("._").encode()[:100].decode(errors="ignore")
    return cleaned or "model"


def _file_name(name: str) -> str:
    """Return the file name of a system: its `file_slug`, with a hash where they differ.

    The hash keeps `a/b` and `a b` apart, and `a.rejected` from the rejected rows of `a`.
    """
    cleaned = file_slug(name)
    if cleaned == name and not name.endswith(".rejected"):
        return cleaned
    return f"{cleaned}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with jsonl.atomic_write(path) as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of `gen-msa evaluate`, unmerged."""

    target: str
    settings: Sequence[str]
    models: Sequence[str]
    seeds: Sequence[str]
    reference: str | None
    pseudonymize: str | None = None
    """Kinds of items that neither models nor the judge see, as `handles,urls`."""
    max_error_rate: float | None = None

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
            *self._error_rate_override(),
            *([f"reference={_yaml_string(self.reference)}"] if self.reference else []),
        ]
        if is_suite:
            loaded_suite = suite.load(self.target, overrides)
        else:
            loaded_suite = settings.load(
                Suite, None, [f"data={_yaml_string(self.target)}", *overrides]
            )
        if self.pseudonymize:
            loaded_suite = _pseudonymized(loaded_suite, self.pseudonymize)
        if not self.models:
            return loaded_suite
        entries = [entry for model in self.models for entry in self._entries(model, loaded_suite)]
        fields = loaded_suite.model_dump(exclude_unset=True) | {"models": entries}
        return settings.build(Suite, fields, "the command line")

    def _error_rate_override(self) -> list[str]:
        """Return the setting of --max-error-rate; none if it was not given."""
        if self.max_error_rate is None:
            return []
        return [f"settings.max_error_rate={self.max_error_rate}"]

    def _entries(self, model: str, loaded_suite: Suite) -> list[dict[str, Any]]:
        """Return the suite entries of one --model, with the settings that the suite gives them."""
        suite_entries = [
            e.model_dump(exclude_unset=True) for e in loaded_suite.models if e.model == model
        ]
        first, *trained = expand_seeds(model)
        all_seeds = [*trained, *self.seeds]
        seeds = {"seeds": all_seeds} if all_seeds else {}
        name = {"name": model} if trained else {}
        entries = suite_entries or [{**name, "model": first}]
        return [entry | seeds for entry in entries]


def _pseudonymized(loaded_suite: Suite, kinds: str) -> Suite:
    fields = loaded_suite.model_dump(exclude_unset=True)
    fields["settings"] = {**loaded_suite.settings, "pseudonymize": kinds}
    if loaded_suite.judge:
        fields["judge"] = {**fields["judge"], "pseudonymize": kinds}
    return settings.build(Suite, fields, "--pseudonymize")


def _yaml_string(text: str) -> str:
    """Quote text as a YAML string: `7`, `no` and `a #b.jsonl` stay strings."""
    return json.dumps(text, ensure_ascii=False)


def run(
    options: EvaluateOptions,
    out: Path | None,
    card: Path | None,
    *,
    latex: bool,
    no_cache: bool,
    yes: bool = False,
) -> int:
    """Run the models, compare them and write the results.

    Args:
        options: The command line.
        out: The output folder; default: `evaluations/TITLE`.
        card: A model card that gets the metrics of the first model.
        latex: Print a LaTeX table on standard output, not a table for the terminal.
        no_cache: Ignore and overwrite answers of earlier runs.
        yes: The user agrees that posts are sent to the models' hosts.

    Returns:
        The exit code: 0, or 3 when more rows or images failed than `max_error_rate` allows.
    """
    evaluation_suite = options.suite()
    console = Console(stderr=True)
    source = open_examples(evaluation_suite.data, label_map=evaluation_suite.label_map)
    # Check everything that needs no model first: running the models may take hours.
    published_results, base_data = (
        published.load(evaluation_suite.published),
        load_examples(source, evaluation_suite.limit),
    )
    check_suite(evaluation_suite, base_data)
    runner = ModelRunner(evaluation_suite, source, Path(), console).confirm_sending(
        base_data, yes=yes
    )
    folder = _make_folder(
        out or Path("evaluations") / file_slug(evaluation_suite.title or evaluation_suite.data)
    )
    if card is not None:
        jsonl.check_writable(card)
    runner = replace(runner, folder=folder)
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
    if latex:
        sys.stdout.write(latex_table(result))
    else:
        Console().print(metrics_table(result))
    for path in (*(folder / n for n in ("report.html", "results.json", "samples.jsonl")), card):
        if path is not None:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)
    print_lines(console, [unused_line(result.unused)])
    return 3 if _exceeds_error_rate(evaluation_suite, base_data, model_outputs) else 0


def _exceeds_error_rate(
    evaluation_suite: Suite, data: EvaluationData, outputs: Sequence[SystemOutput]
) -> bool:
    """Return whether more rows or images failed than allowed, in the data or for a model."""
    default = JobSettings.model_fields["max_error_rate"].default
    allowed = evaluation_suite.settings.get("max_error_rate", default)
    n_rows = len(data.examples) + data.rejected
    return data.rejected > allowed * n_rows or any(o.exceeds_error_rate for o in outputs)


def _make_folder(path: Path) -> Path:
    with user_errors(path, "cannot be a folder", hint="give another one: --out"):
        path.mkdir(parents=True, exist_ok=True)
    jsonl.check_folder_writable(path, hint="give another one: --out")
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
    with jsonl.atomic_write(folder / "metrics.md") as f:
        f.write(markdown_table(result).encode())
    with jsonl.atomic_write(folder / "metrics.tex") as f:
        f.write(latex_table(result).encode())
    write_metrics_csv(result, folder / "metrics.csv")
    write_evaluation(result, data.examples, folder / "report.html", data.media_root)
