"""What a run prints and logs: deterministic text, plain when piped, clean errors."""

import io
import json
import resource
import signal
from pathlib import Path

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from rich.console import Console

from gen_msa.errors import UserError
from gen_msa.finetuning.console import (
    ConsoleReporter,
    EpochStats,
    RunHeader,
    StepLog,
    TokenPreview,
    count_params_by_kind,
    format_duration,
    render_masked_tokens,
)
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from gen_msa.finetuning.run_log import RunLogger
from gen_msa.finetuning.train_step import StepResult
from gen_msa.training.checkpoint import TrainState
from gen_msa.training.run_log import TrackerLog, flatten_settings
from tests.finetuning.test_model_card import validation_result

PROMPT = ["<user>", *["<image>"] * 4, "The soup\n", "is cold.", "\n"]
ANSWER = {
    "Sentiment": "form",
    ":": "form",
    " negative": "label",
    "\n": "form",
    "Why:": "form",
    " It is": "explanation",
    ' "cold".': "explanation",
    "<end>": "form",
}
WEIGHTS = {"form": 0.04, "label": 1.0, "explanation": 0.5}
PREVIEW = TokenPreview(
    name="tiny:all/tiny-01/soup",
    tokens=[*PROMPT, *ANSWER],
    fields=[*[None for _ in PROMPT], *ANSWER.values()],
    weights=[*[0.0 for _ in PROMPT], *(WEIGHTS[f] for f in ANSWER.values())],
)
HEADER = RunHeader(
    model="smol",
    total_params=1_000_000,
    param_groups=count_params_by_kind([("mlp", 3000), ("attention", 1000), ("mlp", 3000)]),
    preview=PREVIEW,
    stats=EpochStats(
        posts=1000,
        rows=2600,
        tokens=120_000,
        longest=700,
        median=90,
        max_length=2048,
        image_tokens=4900,
        padding_share=0.031,
        saved_share=0.412,
        without_rationale=12,
        left_out=[(f"mams/{i}/x", "no label\x1b[2J") for i in range(7)],
    ),
    notes=["the aspects of a post are not packed: mrope"],
)
STEP_LOG = StepLog(
    step=10,
    steps=1300,
    epoch=0.1,
    loss=1.23456,
    fields={"label": 0.6931, "explanation": 2.1},
    tokens_per_second=1234.5,
    learning_rate=2e-4,
    grad_norm=0.5,
)
GOLDEN = """\
trainable parameters of smol
part       tensors  parameters  share
mlp              2       6,000  0.60%
attention        1       1,000  0.10%
total            3       7,000  0.70%
example row tiny:all/tiny-01/soup
<user><image>×4 The soup
is cold.
[form|Sentiment:][label| negative][form|⏎Why:][explanation| It is "cold".][form|<end>]
prompt 8 tokens  form 5 × 0.04  label 1 × 1  explanation 2 × 0.5
one epoch
posts, rows        1,000, 2,600
tokens             120,000 (a post: longest 700, median 90; at most 2,048 a row)
image tokens       4,900
padding            3.1%
saved by packing   41.2%
without rationale  12 rows
left out           7 rows
left out: mams/0/x: no label\ufffd[2J
left out: mams/1/x: no label\ufffd[2J
left out: mams/2/x: no label\ufffd[2J
left out: mams/3/x: no label\ufffd[2J
left out: mams/4/x: no label\ufffd[2J
left out: 2 more
note: the aspects of a post are not packed: mrope
training 1,300 steps, about 40 min
step    10/1,300  epoch 0.10  loss 1.2346  label 0.6931  explanation 2.1000  1,234 tokens/s  \
lr 2.00e-04  grad 0.500
dev mams:dev  n 4  parsed 75.0%  accuracy 50.0% [15.0, 85.0]  macro-F1 44.4%  explanations \
parsed 75.0%  aspect named 100.0%  8 quotes, verbatim 87.5%
done 1,300 steps in 1 h 40 min; adapter in out/adapter
best: step 120, dev score 44.4%, seed 3
dev mams:dev  n 4  parsed 75.0%  accuracy 50.0% [15.0, 85.0]  macro-F1 44.4%  explanations \
parsed 75.0%  aspect named 100.0%  8 quotes, verbatim 87.5%
mams:dev: prompt predict/full@1a2b3c4d, data ffffffffffff
"""


def console_text(console):
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def plain_console():
    return Console(file=io.StringIO(), width=80)


def build_recipe(tmp_path, **changes):
    data = (FinetuneData(source="tiny:all"),)
    defaults = {"model_name_or_path": "tiny", "output_dir": str(tmp_path), "data": data}
    return FinetuneRecipe(**{**defaults, "logging_steps": 2, **changes})


def test_piped_output_matches_golden_text():
    console = plain_console()
    reporter = ConsoleReporter(console)
    reporter.print_header(HEADER)
    reporter.print_plan(1300, 2400)
    reporter.print_step(STEP_LOG)
    reporter.print_metrics(validation_result().as_json())
    reporter.print_summary(
        validation_result().as_json(), steps=1300, seconds=6000, folder="out/adapter"
    )
    assert console_text(console) == GOLDEN


def test_terminal_colors_fields_without_text_markers():
    text = render_masked_tokens(PREVIEW, coloured=True)
    assert "[label|" not in text.plain
    spans = {text.plain[s.start : s.end]: str(s.style) for s in text.spans}
    assert spans[" negative"] == "bold green"
    assert spans[' It is "cold".'] == "cyan"
    assert spans["<user><image>×4 The soup\nis cold.\n"] == "dim"
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    ConsoleReporter(console).print_header(HEADER)
    assert "\x1b[1;32m negative" in console.file.getvalue()
    assert "\x1b[2J" not in console.file.getvalue()


def test_post_text_cannot_inject_terminal_markup():
    hostile = TokenPreview("x", ["[red]\x1b[31m", "[/bold]"], [None, "label"], [0, 1])
    console = plain_console()
    ConsoleReporter(console)._print_line(render_masked_tokens(hostile, coloured=False))
    assert console_text(console) == "[red]\ufffd[31m[label|[/bold]]\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12000, "3 h 20 min")]
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


def run_logger(tmp_path, steps=4, **changes):
    logger = RunLogger(build_recipe(tmp_path, **changes), tmp_path / "run", console=plain_console())
    for i in range(1, steps + 1):
        result = StepResult(loss=i, by_field={"label": 2.0 * i}, grad_norm=0.5, tokens=100, rows=1)
        logger.log_step(TrainState(step=i, rows=i), result, 1e-4, steps)
    return logger


def read_log(path):
    return [json.loads(line) for line in (path / "run" / "log.jsonl").read_text().splitlines()]


def test_logged_step_is_the_mean_since_the_last_log(tmp_path):
    run_logger(tmp_path, steps=5)
    logged_values = [(r["step"], r["loss"], r["loss_label"]) for r in read_log(tmp_path)]
    assert logged_values == [(2, 1.5, 3.0), (4, 3.5, 7.0), (5, 5.0, 10.0)]
    assert all(r["tokens_per_second"] > 0 for r in read_log(tmp_path))


def test_dev_metrics_are_logged_with_context(tmp_path):
    logger = run_logger(tmp_path)
    logger.log_validation(validation_result())
    dev_metrics = read_log(tmp_path)[-1]["dev"]["sources"][0]
    assert {"n", "accuracy_95", "prompt", "data_sha256"} <= set(dev_metrics)


def test_resumed_run_drops_log_rows_after_its_checkpoint(tmp_path):
    logger = run_logger(tmp_path, steps=6)
    with (tmp_path / "run" / "log.jsonl").open("ab") as f:
        f.write(b'{"step": 1, "cut')
    logger.log_resume(tmp_path / "checkpoint-4", ["checkpoint-6: not complete"])
    assert [r["step"] for r in read_log(tmp_path)] == [2, 4]
    assert "skipped checkpoint-6: not complete" in console_text(logger._reporter._console)


def test_caveat_of_the_recipe_ends_the_run(tmp_path):
    console = plain_console()
    recipe = build_recipe(tmp_path, caveat="It learns nothing useful.")
    RunLogger(recipe, tmp_path / "run", console=console).log_end(TrainState(step=4), tmp_path)
    assert "It learns nothing useful." in console_text(console).splitlines()[-1]


def test_only_the_main_process_logs(tmp_path):
    logger = RunLogger(build_recipe(tmp_path), tmp_path / "run", is_main=False, console=None)
    logger.log_step(TrainState(step=2), StepResult(1.0), 1e-4, 4)
    logger.log_validation(validation_result())
    logger.log_end(TrainState(step=4), tmp_path)
    assert not (tmp_path / "run").exists()


def test_non_finite_numbers_are_logged_as_strings(tmp_path):
    TrackerLog(tmp_path).write({"step": 1, "loss": float("nan"), "x": [1e400]})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {
        "step": 1,
        "loss": "nan",
        "x": ["inf"],
    }


def test_full_disk_is_a_clean_error_and_keeps_complete_lines(tmp_path):
    tracker_log = TrackerLog(tmp_path)
    tracker_log.write({"step": 1, "loss": 1.0})
    before = tracker_log.path.read_bytes()
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for extra in range(20):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + extra, old_limit[1]))
            with pytest.raises(UserError, match=r"log.jsonl cannot be written: File too large"):
                tracker_log.write({"step": 2, "loss": 0.123456789})
            assert tracker_log.path.read_bytes() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)


def test_unwritable_log_folder_is_a_clean_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a part of the path is a file"):
        TrackerLog(tmp_path / "file" / "out").write({"step": 1})


def test_unknown_tracker_suggests_the_nearest(tmp_path):
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        TrackerLog(tmp_path, ("tensorbord",))


def test_missing_tracker_package_is_named(tmp_path):
    missing_tracker = next(
        n for n in ("aim", "clearml", "dvclive", "comet_ml") if n not in get_available_trackers()
    )
    with pytest.raises(UserError, match=f"report_to names {missing_tracker}.*\n.*pip install"):
        TrackerLog(tmp_path, (missing_tracker,))


class RecordingTracker(GeneralTracker):
    """A tracker that remembers what it is told."""

    name = "recording"
    requires_logging_directory = False
    calls: list = []

    def __init__(self, run_name):
        super().__init__()

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.calls.append(("recipe", values))

    def log(self, values, step=None, **kwargs):
        self.calls.append((step, values))

    def finish(self):
        self.calls.append("finished")


@pytest.fixture
def recorded_calls():
    LOGGER_TYPE_TO_CLASS["recording"] = RecordingTracker
    RecordingTracker.calls.clear()
    yield RecordingTracker.calls
    del LOGGER_TYPE_TO_CLASS["recording"]


def test_trackers_receive_recipe_steps_and_metrics(tmp_path, recorded_calls):
    logger = run_logger(tmp_path, steps=2, report_to=("recording",))
    logger.log_validation(validation_result())
    logger.log_end(TrainState(step=2), Path("adapter"))
    (_, settings), (step_number, step), (validation_step, metrics), finished = recorded_calls
    assert settings["lora_rank"] == 16
    assert settings["loss.label"] == 1.0
    assert (step_number, step["loss"], validation_step) == (2, 1.5, 120)
    assert metrics["dev/mams:dev/accuracy"] == 0.5
    assert finished == "finished"


def test_settings_are_flattened_to_scalars(tmp_path):
    flattened = flatten_settings(build_recipe(tmp_path).model_dump(mode="json"))
    assert {type(v) for v in flattened.values()} <= {str, int, float, bool}
    assert json.loads(flattened["data"])[0]["source"] == "tiny:all"


def test_logger_writes_nothing_before_the_first_step(tmp_path):
    logger = RunLogger(build_recipe(tmp_path), tmp_path / "run", console=plain_console())
    logger.log_resume(None, [])
    assert list(tmp_path.iterdir()) == []
