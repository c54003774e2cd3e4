"""`gen-msa finetune` and its launchers: one way in, light until it runs, and its exit codes."""

import json
import subprocess
import sys

import pytest

from gen_msa import shipped
from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning.__main__ import main, start

LAUNCHER = shipped.folder("finetune") / "lora.py"


class _Stopped(UserError):
    exit_code = 4


def test_an_unknown_recipe_or_key_exits_with_2_and_a_suggestion(gen_msa):
    ran = gen_msa("finetune", "tiny_cpi")
    assert ran.code == 2
    assert "did you mean 'tiny_cpu'" in ran.err
    ran = gen_msa("finetune", "tiny_cpu", "learning_rat=1")
    assert ran.code == 2
    assert "did you mean 'learning_rate'" in ran.err


def test_a_test_split_exits_with_2(gen_msa):
    ran = gen_msa("finetune", "tiny_cpu", "data.0.source=twitter2015:test")
    assert ran.code == 2
    assert "never read while tuning" in ran.err


def test_an_error_that_has_its_own_exit_code_exits_with_it(gen_msa, monkeypatch):
    def stop(*_, **__):
        raise _Stopped("the loss of post 7 is not a number")

    monkeypatch.setattr("gen_msa.finetuning.__main__.start", stop)
    assert gen_msa("finetune", "tiny_cpu").code == 4
    with pytest.raises(SystemExit) as exited:
        main(["--recipe", "tiny_cpu"])
    assert exited.value.code == 4


def test_a_run_that_diverged_has_exit_code_4():
    pytest.importorskip("peft", reason="peft is not installed")
    from gen_msa.errors import Diverged

    assert issubclass(Diverged, UserError)
    assert Diverged.exit_code == 4


@pytest.mark.parametrize(
    ("given", "resume", "dry_run"),
    [([], None, False), (["--fresh"], False, False), (["--resume", "--dry-run"], True, True)],
)
def test_options_reach_the_run(gen_msa, monkeypatch, given, resume, dry_run):
    asked = []
    monkeypatch.setattr("gen_msa.finetuning.__main__.start", lambda *a, **k: asked.append((a, k)))
    assert gen_msa("finetune", "tiny_cpu", "seed=1", *given).code == 0
    assert asked == [(("tiny_cpu", ["seed=1"]), {"dry_run": dry_run, "resume": resume})]


@pytest.mark.parametrize(
    ("given", "resume"), [([], None), (["--fresh"], False), (["--resume"], True)]
)
def test_distilling_takes_the_same_options(gen_msa, monkeypatch, given, resume):
    asked = []
    monkeypatch.setattr("gen_msa.distilling.__main__.start", lambda *a, **k: asked.append((a, k)))
    assert gen_msa("distill", "text", "seed=1", *given).code == 0
    assert asked == [(("text", ["seed=1"]), {"dry_run": False, "resume": resume})]


def test_the_script_takes_overrides_before_and_after_its_options(monkeypatch):
    asked = []
    monkeypatch.setattr("gen_msa.finetuning.__main__.start", lambda *a, **k: asked.append((a, k)))
    main(["seed=1", "--recipe", "tiny_cpu", "lora_rank=4", "--no-resume"])
    assert asked == [(("tiny_cpu", ["seed=1", "lora_rank=4"]), {"dry_run": False, "resume": False})]


@pytest.mark.parametrize("door", [["-m", "gen_msa.finetuning"], [str(LAUNCHER)]])
def test_the_launchers_say_what_is_wrong_and_which_process_says_it(door):
    ran = subprocess.run(
        [sys.executable, *door, "--recipe", "tiny_cpu", "learning_rat=1"],
        cwd=LAUNCHER.parent.parent,
        env={"WORLD_SIZE": "2", "RANK": "1", "PYTHONPATH": str(LAUNCHER.parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("gen-msa (process 1): ")
    assert "did you mean 'learning_rate'" in ran.stderr


def test_a_recipe_is_validated_without_loading_a_model_library():
    heavy = "('torch', 'transformers', 'accelerate', 'peft', 'spacy', 'PIL', 'pyarrow', 'numpy')"
    code = (
        "import sys, json; from gen_msa.finetuning import recipe, __main__\n"
        "for name in recipe.names(): recipe.load(name)\n"
        f"print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_a_missing_package_says_which_extra_has_it(monkeypatch):
    # None in sys.modules is how Python itself marks what cannot be imported.
    for module in [m for m in sys.modules if m.startswith("gen_msa.finetuning.loop")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[train\]"):
        start("tiny_cpu")
