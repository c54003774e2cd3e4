"""The commands of the section Students of docs/distilling.md run; its table names every key."""

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import gen_msa as package
from gen_msa.distillation import recipe
from gen_msa.distillation.loop import distill
from gen_msa.distillation.recipe import DistillData, DistillLossConfig, DistillRecipe
from gen_msa.types import Opinion
from tests.fixtures.commands import run
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "distilling.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Students\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", SECTION, re.MULTILINE)


def teacher_example(i):
    e = example(i)
    opinions = [
        Opinion(annotator="t", aspect=o.aspect, polarity=o.polarity, probs={o.polarity: 1.0})
        for o in e.opinions
    ]
    return e.model_copy(update={"opinions": tuple(opinions)})


def test_commands_train_a_student_and_predict_with_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path / "teacher.jsonl", [teacher_example(i) for i in range(12)])
    unlabelled = [example(i).model_copy(update={"opinions": ()}) for i in range(12)]
    write_examples(tmp_path / "posts.jsonl", unlabelled)
    text_command, teacher_command, _ = map(shlex.split, COMMANDS)
    assert text_command == ["distill", "text"]
    assert recipe.load_recipe(text_command[1]).student == "text"
    # The same command, for a student of a few numbers and without the shipped dev split.
    tiny_recipe = recipe.load_recipe(teacher_command[1], teacher_command[2:]).model_dump()
    tiny_recipe |= {
        "config": TINY,
        "pretrained": False,
        "dev": (),
        "max_length": 48,
        "num_train_epochs": 2,
    }
    distill(DistillRecipe.model_validate(tiny_recipe), tokenizer=write_tokenizer(tmp_path))
    run(COMMANDS[2], monkeypatch, capfd)
    assert len((tmp_path / "opinions.jsonl").read_text().splitlines()) == 12


def test_table_names_existing_recipe_keys():
    keys = {
        k
        for row in re.findall(r"^\| (`.+?) \|", SECTION, re.M)
        for k in re.findall(r"`([\w.]+)`", row)
    }
    data = {f"data.N.{k}" for k in DistillData.model_fields}
    assert keys <= data | set(DistillRecipe.model_fields)
    assert {"teacher", "losses", "cues", "cross_fit_folds", "data.N.teachers"} <= keys
    assert all(f"`{k}`" in SECTION for k in DistillLossConfig.model_fields)


STEPS = PAGE.partition("\n## A generative student, step by step\n")[2].partition("\n## ")[0]


def test_tutorial_commands_agree_on_recipe_adapter_and_prompts():
    from gen_msa.finetuning import recipe as tuning

    annotate_args, finetune_args, explain_args, explain_prompt_args, override_args = (
        shlex.split(c) for c in re.findall(r"^\$ gen-msa (.+)$", STEPS, re.MULTILINE)
    )
    default_recipe = tuning.load_recipe(finetune_args[1])
    (data,) = default_recipe.data
    assert annotate_args[annotate_args.index("-o") + 1] == data.source
    assert data.rationales == f"from_annotator:{annotate_args[annotate_args.index('--model') + 1]}"
    assert (
        explain_args[3] == explain_prompt_args[3] == f"builtin:{default_recipe.output_dir}/adapter"
    )
    assert "--prompt" not in explain_args
    assert (
        explain_prompt_args[explain_prompt_args.index("--prompt") + 1] == data.extra_tasks[0].prompt
    )
    user_recipe = tuning.load_recipe(override_args[1], override_args[2:])
    assert user_recipe.data[0].extra_tasks[0].weight == 0.5
    assert user_recipe.data[0].rationales == "from_annotator:echo"


def test_tutorial_table_names_every_task_and_teacher_key():
    from gen_msa.finetuning import recipe as tuning

    keys = set(re.findall(r"^\| `([\w.]+)` \|", STEPS, re.MULTILINE))
    known_keys = {f"data.N.{k}" for k in tuning.FinetuneData.model_fields}
    known_keys |= {f"loss.{k}" for k in tuning.LossConfig.model_fields}
    assert keys <= known_keys
    assert {"data.N.extra_tasks", "data.N.confidence", "data.N.soft_labels", "loss.soft"} <= keys
    assert all(f"`{k}`" in STEPS for k in tuning.ExtraTask.model_fields)
