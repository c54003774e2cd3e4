"""`gen-msa finetune`, `gen-msa distill` and their launchers: options, exit codes, imports."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gen_msa import resources
from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning.__main__ import main, start

LAUNCHER = resources.resource_folder("finetune") / "lora.py"


class _ErrorWithExitCode(UserError):
    exit_code = 4


def test_unknown_recipe_or_key_exits_with_2_and_suggestion(gen_msa):
    completed = gen_msa("finetune", "tiny_cpi")
    assert completed.code == 2
    assert "did you mean 'tiny_cpu'" in completed.err
    completed = gen_msa("finetune", "tiny_cpu", "learning_rat=1")
    assert completed.code == 2
    assert "did you mean 'learning_rate'" in completed.err


def test_test_split_exits_with_2(gen_msa):
    completed = gen_msa("finetune", "tiny_cpu", "data.0.source=twitter2015:test")
    assert completed.code == 2
    assert "never read while tuning" in completed.err


def test_exit_code_of_an_error_is_used(gen_msa, monkeypatch):
    def fail(*_, **__):
        raise _ErrorWithExitCode("the loss of post 7 is not a number")

    monkeypatch.setattr("gen_msa.finetuning.start", fail)
    monkeypatch.setattr("gen_msa.finetuning.__main__.start", fail)
    assert gen_msa("finetune", "tiny_cpu").code == 4
    with pytest.raises(SystemExit) as exit_info:
        main(["--recipe", "tiny_cpu"])
    assert exit_info.value.code == 4


def test_diverged_has_exit_code_4():
    pytest.importorskip("peft", reason="peft is not installed")
    from gen_msa.errors import Diverged

    assert issubclass(Diverged, UserError)
    assert Diverged.exit_code == 4


@pytest.mark.parametrize(
    ("options", "resume", "dry_run"),
    [([], None, False), (["--no-resume"], False, False), (["--resume", "--dry-run"], True, True)],
)
def test_options_reach_the_training_run(gen_msa, monkeypatch, options, resume, dry_run):
    calls = []
    monkeypatch.setattr("gen_msa.finetuning.start", lambda *a, **k: calls.append((a, k)))
    assert gen_msa("finetune", "tiny_cpu", "seed=1", *options).code == 0
    assert calls == [(("tiny_cpu", ["seed=1"]), {"dry_run": dry_run, "resume": resume})]


@pytest.mark.parametrize(
    ("options", "resume"), [([], None), (["--no-resume"], False), (["--resume"], True)]
)
def test_distilling_takes_the_same_options(gen_msa, monkeypatch, options, resume):
    calls = []
    monkeypatch.setattr("gen_msa.distillation.start", lambda *a, **k: calls.append((a, k)))
    assert gen_msa("distill", "text", "seed=1", *options).code == 0
    assert calls == [(("text", ["seed=1"]), {"dry_run": False, "resume": resume})]


def test_script_takes_overrides_before_and_after_options(monkeypatch):
    calls = []
    monkeypatch.setattr("gen_msa.finetuning.__main__.start", lambda *a, **k: calls.append((a, k)))
    main(["seed=1", "--recipe", "tiny_cpu", "lora_rank=4", "--no-resume"])
    assert calls == [(("tiny_cpu", ["seed=1", "lora_rank=4"]), {"dry_run": False, "resume": False})]


@pytest.mark.parametrize("launcher", [["-m", "gen_msa.finetuning"], [str(LAUNCHER)]])
def test_launchers_report_the_error_and_the_process_rank(launcher):
    completed = subprocess.run(
        [sys.executable, *launcher, "--recipe", "tiny_cpu", "learning_rat=1"],
        cwd=LAUNCHER.parent.parent,
        env={"WORLD_SIZE": "2", "RANK": "1", "PYTHONPATH": str(LAUNCHER.parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 2
    assert completed.stderr.startswith("gen-msa (process 1): ")
    assert "did you mean 'learning_rate'" in completed.stderr


def test_recipe_validation_loads_no_model_library():
    heavy_libraries = (
        "('torch', 'transformers', 'accelerate', 'peft', 'spacy', 'PIL', 'pyarrow', 'numpy')"
    )
    code = (
        "import sys, json; from gen_msa.finetuning import recipe, __main__\n"
        "for name in recipe.recipe_names(): recipe.load_recipe(name)\n"
        f"print(json.dumps([m for m in {heavy_libraries} if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_missing_package_error_names_the_extra(monkeypatch):
    # None in sys.modules is how Python itself marks what cannot be imported.
    for module in [m for m in sys.modules if m.startswith("gen_msa.finetuning.loop")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[train\]"):
        start("tiny_cpu")


@pytest.mark.parametrize("verb", ["finetune", "distill"])
def test_seeds_train_several_runs(gen_msa, monkeypatch, verb, tmp_path):
    package = {"finetune": "finetuning", "distill": "distillation"}[verb]
    calls = []

    def start(name, overrides, *, dry_run, resume):
        recipe = importlib.import_module(f"gen_msa.{package}.recipe").load_recipe(name, overrides)
        folder = Path(recipe.output_dir) / "model"
        folder.mkdir(parents=True)
        dev = {"sources": [{"accuracy": 0.6 + recipe.seed / 10, "macro_f1": 0.5}]}
        (folder / "metrics.json").write_text(json.dumps({"dev": dev}))
        calls.append(recipe.seed)
        return folder

    monkeypatch.setattr(f"gen_msa.{package}.start", start)
    recipe = {"finetune": "tiny_cpu", "distill": "text"}[verb]
    arguments = (verb, recipe, f"output_dir={tmp_path / 'runs'}", "--seeds", "3")
    completed = gen_msa(*arguments)
    assert completed.code == 0, completed.err
    assert calls == [0, 1, 2]
    assert "accuracy 70.0 ± 10.0%" in completed.err
    kind = {"finetune": "builtin:", "distill": "student:"}[verb]
    assert f"--model {kind}{tmp_path / 'runs'}" in completed.err
    assert gen_msa(*arguments).code == 0
    assert calls == [0, 1, 2]
    for seed in range(3):
        assert (tmp_path / "runs" / f"seed-{seed}" / "model" / "metrics.json").is_file()
