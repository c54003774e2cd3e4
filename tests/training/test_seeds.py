"""Several seeds of a recipe: folders, resuming, the summary, and what `evaluate` makes of them."""

import json

import pytest

from gen_msa.errors import UserError
from gen_msa.training.seeds import INDEX, expand_seeds, train_seeds
from gen_msa.types import FrozenModel


class FakeRecipe(FrozenModel):
    output_dir: str = "unset"
    seed: int = 7
    rate: float = 1.0
    resume: bool = True


def load_recipe(name, overrides):
    fields = dict(o.split("=", 1) for o in overrides)
    return FakeRecipe(
        output_dir=fields["output_dir"].strip('"'),
        seed=int(fields.get("seed", 7)),
        rate=float(fields.get("rate", 1)),
    )


class FakeTraining:
    """Writes a student whose dev accuracy is known, and counts its calls."""

    def __init__(self, fail_at=None):
        self.seeds, self.fail_at, self.resume = [], fail_at, []

    def __call__(self, name, overrides, *, dry_run, resume):
        recipe = load_recipe(name, overrides)
        if recipe.seed == self.fail_at:
            raise UserError("stopped")
        self.seeds.append(recipe.seed)
        self.resume.append(resume)
        folder = load_folder(recipe)
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            dev = {"sources": [{"accuracy": 0.7 + recipe.seed / 100, "macro_f1": 0.5}]}
            (folder / "metrics.json").write_text(json.dumps({"dev": dev}))
        return folder


def load_folder(recipe):
    from pathlib import Path

    return Path(recipe.output_dir) / "student"


def run(tmp_path, training, count=3, *overrides, **options):
    settings = [f"output_dir={tmp_path / 'base'}", *overrides]
    return train_seeds(training, load_recipe, "fake", settings, count, **options)


def test_each_seed_has_a_folder_and_the_summary_a_spread(tmp_path, capsys):
    training = FakeTraining()
    folders = run(tmp_path, training)
    base = tmp_path / "base"
    assert folders == [base / f"seed-{s}" / "student" for s in range(3)]
    assert training.seeds == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert f"seed 1  accuracy 71.0%  macro_f1 50.0%  {folders[1]}" in lines
    assert "mean ± sd over 3 seeds  accuracy 71.0 ± 1.0%  macro_f1 50.0 ± 0.0%" in lines
    assert lines[-1] == f"evaluate them: gen-msa evaluate POSTS --model student:{base}"


def test_stopped_run_goes_on_with_the_missing_seeds(tmp_path, capsys):
    with pytest.raises(UserError, match="stopped"):
        run(tmp_path, FakeTraining(fail_at=1))
    training = FakeTraining()
    assert len(run(tmp_path, training)) == 3
    assert training.seeds == [1, 2]
    assert "seed 0: finished before" in capsys.readouterr().err
    again = FakeTraining()
    run(tmp_path, again, 4)
    assert again.seeds == [3]


def test_other_settings_or_no_resume_train_again(tmp_path):
    run(tmp_path, FakeTraining())
    other, anew = FakeTraining(), FakeTraining()
    run(tmp_path, other, 3, "rate=2")
    run(tmp_path, anew, 3, "rate=2", resume=False)
    assert other.seeds == anew.seeds == [0, 1, 2]
    assert anew.resume == [False] * 3


def test_lost_student_is_trained_again(tmp_path):
    (first, *_) = run(tmp_path, FakeTraining())
    (first / "metrics.json").unlink()
    training = FakeTraining()
    run(tmp_path, training)
    assert training.seeds == [0]


def test_dry_run_tries_one_seed_and_writes_nothing(tmp_path):
    training = FakeTraining()
    run(tmp_path, training, dry_run=True)
    assert training.seeds == [0]
    assert not (tmp_path / "base").exists()


def test_expand_seeds_finds_the_models_of_a_folder(tmp_path):
    folders = run(tmp_path, FakeTraining())
    assert expand_seeds(f"student:{tmp_path / 'base'}") == [f"student:{f}" for f in folders]
    assert expand_seeds(f"transformers:org/m@{tmp_path / 'base'}") == [
        f"transformers:org/m@{f}" for f in folders
    ]
    for other in ("builtin", f"student:{folders[0]}", "transformers:org/model"):
        assert expand_seeds(other) == [other]


def test_bad_seed_options_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="at least 2"):
        run(tmp_path, FakeTraining(), 1)
    with pytest.raises(UserError, match="sets `seed` itself"):
        run(tmp_path, FakeTraining(), 3, "seed=4")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / INDEX).write_text("{broken")
    with pytest.raises(UserError, match=r"seeds\.json cannot be read"):
        run(tmp_path, FakeTraining())
