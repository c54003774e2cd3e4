"""The commands of the section Students of docs/distilling.md run; its table names every key."""

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import gen_msa as package
from gen_msa.distilling import recipe
from gen_msa.distilling.loop import distil
from gen_msa.distilling.recipe import Data, Losses, Recipe
from gen_msa.types import Opinion
from tests.fixtures.commands import run
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "distilling.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Students\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", SECTION, re.MULTILINE)


def taught(i):
    e = example(i)
    said = [
        Opinion(by="t", aspect=o.aspect, polarity=o.polarity, probs={o.polarity: 1.0})
        for o in e.opinions
    ]
    return e.model_copy(update={"opinions": tuple(said)})


def test_its_commands_train_a_student_from_a_teacher_alone_and_read_with_it(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path / "teacher.jsonl", [taught(i) for i in range(12)])
    bare = [example(i).model_copy(update={"opinions": ()}) for i in range(12)]
    write_examples(tmp_path / "posts.jsonl", bare)
    plain, free, _ = map(shlex.split, COMMANDS)
    assert plain == ["distill", "text"]
    assert recipe.load(plain[1]).student == "text"
    # The same command, for a student of a few numbers and without the shipped dev split.
    small = recipe.load(free[1], free[2:]).model_dump()
    small |= {"numbers": TINY, "warm": False, "dev": (), "max_length": 48, "num_train_epochs": 2}
    distil(Recipe.model_validate(small), tokenizer=write_tokenizer(tmp_path))
    run(COMMANDS[2], monkeypatch, capfd)
    assert len((tmp_path / "opinions.jsonl").read_text().splitlines()) == 12


def test_the_table_names_keys_that_are_there():
    keys = {
        k
        for row in re.findall(r"^\| (`.+?) \|", SECTION, re.M)
        for k in re.findall(r"`([\w.]+)`", row)
    }
    data = {f"data.N.{k}" for k in Data.model_fields}
    assert keys <= data | set(Recipe.model_fields)
    assert {"teacher", "losses", "cues", "folds", "data.N.teachers"} <= keys
    assert all(f"`{k}`" in SECTION for k in Losses.model_fields)


STEPS = PAGE.partition("\n## A generative student, step by step\n")[2].partition("\n## ")[0]


def test_the_commands_step_by_step_name_a_recipe_its_adapter_and_its_prompts():
    from gen_msa.finetuning import recipe as tuning

    made, tuned, read, reasoned, own = (
        shlex.split(c) for c in re.findall(r"^\$ gen-msa (.+)$", STEPS, re.MULTILINE)
    )
    shipped = tuning.load(tuned[1])
    (data,) = shipped.data
    assert made[made.index("-o") + 1] == data.source
    assert data.reasons == f"by:{made[made.index('--reader') + 1]}"
    assert read[3] == reasoned[3] == f"builtin:{shipped.output_dir}/adapter"
    assert "--prompt" not in read
    assert reasoned[reasoned.index("--prompt") + 1] == data.also[0].prompt
    mine = tuning.load(own[1], own[2:])
    assert mine.data[0].also[0].weight == 0.5
    assert mine.data[0].reasons == "by:echo"


def test_the_table_step_by_step_names_every_key_of_tasks_and_teachers():
    from gen_msa.finetuning import recipe as tuning

    keys = set(re.findall(r"^\| `([\w.]+)` \|", STEPS, re.MULTILINE))
    known = {f"data.N.{k}" for k in tuning.Data.model_fields}
    known |= {f"loss.{k}" for k in tuning.Loss.model_fields}
    assert keys <= known
    assert {"data.N.also", "data.N.confidence", "data.N.soft", "loss.soft"} <= keys
    assert all(f"`{k}`" in STEPS for k in tuning.Task.model_fields)
