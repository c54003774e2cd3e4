"""What a run prints and logs: the same text every time, plain when piped, clean when it cannot."""

import io
import json
import resource
import signal
from pathlib import Path

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from rich.console import Console

from gen_msa.errors import UserError
from gen_msa.finetuning.checkpoints import Progress
from gen_msa.finetuning.facts import Budget, Opening, Shown, Step, parts
from gen_msa.finetuning.logbook import Logbook, flat
from gen_msa.finetuning.printing import Printer, duration, masked
from gen_msa.finetuning.recipe import Data, Recipe
from gen_msa.finetuning.stepping import Stepped
from gen_msa.finetuning.telling import Teller
from tests.finetuning.test_card import judgement

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
SHOWN = Shown(
    name="tiny:all/tiny-01/soup",
    tokens=[*PROMPT, *ANSWER],
    fields=[*[None for _ in PROMPT], *ANSWER.values()],
    weights=[*[0.0 for _ in PROMPT], *(WEIGHTS[f] for f in ANSWER.values())],
)
OPENING = Opening(
    model="smol",
    parameters=1_000_000,
    parts=parts([("mlp", 3000), ("attention", 1000), ("mlp", 3000)]),
    shown=SHOWN,
    budget=Budget(
        posts=1000,
        rows=2600,
        tokens=120_000,
        longest=700,
        median=90,
        limit=2048,
        picture_tokens=4900,
        padding=0.031,
        shared=0.412,
        without_reason=12,
        left_out=[(f"mams/{i}/x", "no label\x1b[2J") for i in range(7)],
    ),
    notes=["the aspects of a post are read separately: mrope"],
)
STEP = Step(
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
trained of smol
part       tensors  numbers  of the model
mlp              2    6,000         0.60%
attention        1    1,000         0.10%
in all           3    7,000         0.70%
one row tiny:all/tiny-01/soup
<user><image>×4 The soup
is cold.
[form|Sentiment:][label| negative][form|⏎Why:][explanation| It is "cold".][form|<end>]
prompt 8 tokens  form 5 × 0.04  label 1 × 1  explanation 2 × 0.5
an epoch
posts, rows       1,000, 2,600
tokens            120,000 (a post: longest 700, median 90; at most 2,048 a row)
of pictures       4,900
padding           3.1%
saved by sharing  41.2%
without a reason  12 rows
left out          7 rows
left out: mams/0/x: no label\ufffd[2J
left out: mams/1/x: no label\ufffd[2J
left out: mams/2/x: no label\ufffd[2J
left out: mams/3/x: no label\ufffd[2J
left out: mams/4/x: no label\ufffd[2J
left out: 2 more
note: the aspects of a post are read separately: mrope
training 1,300 steps, about 40 min
step    10/1,300  epoch 0.10  loss 1.2346  label 0.6931  explanation 2.1000  1,234 tokens/s  \
lr 2.00e-04  grad 0.500
dev mams:dev  n 4  read 75.0%  accuracy 50.0% [15.0, 85.0]  macro-F1 44.4%  reasons read 75.0%  \
aspect named 100.0%  8 quotes, verbatim 87.5%
done 1,300 steps in 1 h 40 min; adapter in out/adapter
kept: step 120, dev score 44.4%, seed 3
dev mams:dev  n 4  read 75.0%  accuracy 50.0% [15.0, 85.0]  macro-F1 44.4%  reasons read 75.0%  \
aspect named 100.0%  8 quotes, verbatim 87.5%
mams:dev: prompt reader/full@1a2b3c4d, data ffffffffffff
"""


def said(console):
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def piped():
    return Console(file=io.StringIO(), width=80)


def recipe(tmp_path, **changes):
    data = (Data(source="tiny:all"),)
    told = {"model_name_or_path": "tiny", "output_dir": str(tmp_path), "data": data}
    return Recipe(**{**told, "logging_steps": 2, **changes})


def test_a_piped_run_reads_as_it_should():
    console = piped()
    printer = Printer(console)
    printer.opening(OPENING)
    printer.planned(1300, 2400)
    printer.step(STEP)
    printer.figures(judgement().as_json())
    printer.closing(judgement().as_json(), steps=1300, seconds=6000, folder="out/adapter")
    assert said(console) == GOLDEN


def test_on_a_terminal_each_field_has_its_colour_and_no_marks():
    text = masked(SHOWN, coloured=True)
    assert "[label|" not in text.plain
    spans = {text.plain[s.start : s.end]: str(s.style) for s in text.spans}
    assert spans[" negative"] == "bold green"
    assert spans[' It is "cold".'] == "cyan"
    assert spans["<user><image>×4 The soup\nis cold.\n"] == "dim"
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    Printer(console).opening(OPENING)
    assert "\x1b[1;32m negative" in console.file.getvalue()
    assert "\x1b[2J" not in console.file.getvalue()


def test_words_of_a_post_cannot_mark_up_the_terminal():
    hostile = Shown("x", ["[red]\x1b[31m", "[/bold]"], [None, "label"], [0, 1])
    console = piped()
    Printer(console)._line(masked(hostile, coloured=False))
    assert said(console) == "[red]\ufffd[31m[label|[/bold]]\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12000, "3 h 20 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def told_by(tmp_path, steps=4, **changes):
    teller = Teller(recipe(tmp_path, **changes), tmp_path / "run", console=piped())
    for i in range(1, steps + 1):
        done = Stepped(loss=i, by_field={"label": 2.0 * i}, norm=0.5, tokens=100, rows=1)
        teller.step(Progress(step=i, rows=i), done, 1e-4, steps)
    return teller


def logged(path):
    return [json.loads(line) for line in (path / "run" / "log.jsonl").read_text().splitlines()]


def test_a_logged_step_is_the_mean_since_the_last_one(tmp_path):
    told_by(tmp_path, steps=5)
    found = [(r["step"], r["loss"], r["loss_label"]) for r in logged(tmp_path)]
    assert found == [(2, 1.5, 3.0), (4, 3.5, 7.0), (5, 5.0, 10.0)]
    assert all(r["tokens_per_second"] > 0 for r in logged(tmp_path))


def test_figures_are_logged_with_all_they_are_printed_with(tmp_path):
    teller = told_by(tmp_path)
    teller.judged(judgement())
    dev = logged(tmp_path)[-1]["dev"]["sources"][0]
    assert {"n", "accuracy_95", "prompt", "data_sha256"} <= set(dev)


def test_a_run_that_goes_on_drops_what_was_logged_after_its_checkpoint(tmp_path):
    teller = told_by(tmp_path, steps=6)
    with (tmp_path / "run" / "log.jsonl").open("ab") as f:
        f.write(b'{"step": 1, "cut')
    teller.resumed(tmp_path / "checkpoint-4", ["checkpoint-6: not whole"])
    assert [r["step"] for r in logged(tmp_path)] == [2, 4]
    assert "passed over checkpoint-6: not whole" in said(teller._printer._console)


def test_only_the_main_process_says_anything(tmp_path):
    teller = Teller(recipe(tmp_path), tmp_path / "run", main=False, console=None)
    teller.step(Progress(step=2), Stepped(1.0), 1e-4, 4)
    teller.judged(judgement())
    teller.end(Progress(step=4), tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_number_that_is_none_is_logged_by_its_name(tmp_path):
    Logbook(tmp_path, recipe(tmp_path)).write({"step": 1, "loss": float("nan"), "x": [1e400]})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {
        "step": 1,
        "loss": "nan",
        "x": ["inf"],
    }


def test_a_full_disk_is_a_clean_error_and_leaves_whole_lines(tmp_path):
    book = Logbook(tmp_path, recipe(tmp_path))
    book.write({"step": 1, "loss": 1.0})
    before = book.path.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for extra in range(20):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + extra, old[1]))
            with pytest.raises(UserError, match=r"log.jsonl cannot be written: File too large"):
                book.write({"step": 2, "loss": 0.123456789})
            assert book.path.read_bytes() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_place_that_cannot_be_written_is_a_clean_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="make room, or choose another output_dir"):
        Logbook(tmp_path / "file" / "out", recipe(tmp_path)).write({"step": 1})


def test_an_unknown_tracker_is_answered_with_the_nearest_one(tmp_path):
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        Logbook(tmp_path, recipe(tmp_path, report_to=("tensorbord",)))


def test_a_tracker_that_is_not_installed_is_named(tmp_path):
    absent = next(
        n for n in ("aim", "clearml", "dvclive", "comet_ml") if n not in get_available_trackers()
    )
    with pytest.raises(UserError, match=f"report_to names {absent}.*\n.*pip install"):
        Logbook(tmp_path, recipe(tmp_path, report_to=(absent,)))


class Kept(GeneralTracker):
    """A tracker that remembers what it is told."""

    name = "kept"
    requires_logging_directory = False
    said: list = []

    def __init__(self, run_name):
        super().__init__()

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.said.append(("recipe", values))

    def log(self, values, step=None, **kwargs):
        self.said.append((step, values))

    def finish(self):
        self.said.append("finished")


@pytest.fixture
def kept():
    LOGGER_TYPE_TO_CLASS["kept"] = Kept
    Kept.said.clear()
    yield Kept.said
    del LOGGER_TYPE_TO_CLASS["kept"]


def test_trackers_get_the_recipe_the_steps_and_the_figures(tmp_path, kept):
    teller = told_by(tmp_path, steps=2, report_to=("kept",))
    teller.judged(judgement())
    teller.end(Progress(step=2), Path("adapter"))
    (_, settings), (at, step), (judged_at, figures), finished = kept
    assert settings["lora_rank"] == 16
    assert settings["loss.label"] == 1.0
    assert (at, step["loss"], judged_at) == (2, 1.5, 120)
    assert figures["dev/mams:dev/accuracy"] == 0.5
    assert finished == "finished"


def test_settings_are_flattened_to_plain_values(tmp_path):
    found = flat(recipe(tmp_path).model_dump(mode="json"))
    assert {type(v) for v in found.values()} <= {str, int, float, bool}
    assert json.loads(found["data"])[0]["source"] == "tiny:all"


def test_nothing_is_written_before_the_first_step(tmp_path):
    teller = Teller(recipe(tmp_path), tmp_path / "run", console=piped())
    teller.resumed(None, [])
    assert list(tmp_path.iterdir()) == []
