"""Teachers: ensembles of files, invalid files, live teachers that stay unchanged."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.distillation.dataset import (  # noqa: E402
    FrozenTeacher,
    RecordedTeachers,
    build_dataset,
)
from gen_msa.distillation.loop import DistillRun, distill  # noqa: E402
from gen_msa.distillation.recipe import DistillData, DistillRecipe  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.models.inference.serialization import load_student  # noqa: E402
from gen_msa.types import Opinion  # noqa: E402
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer  # noqa: E402

PROBS = {"negative": 0.25, "neutral": 0.25, "positive": 0.5}


def teacher_example(i, annotator="teacher", probs=PROBS):
    labelled_example = example(i)
    opinions = [
        Opinion(annotator=annotator, aspect=o.aspect, polarity="positive", probs=probs)
        for o in labelled_example.opinions
    ]
    return labelled_example.model_copy(update={"opinions": tuple(opinions)})


def build_recipe(tmp_path, **overrides):
    defaults = {
        "output_dir": str(tmp_path / "out"),
        "data": ({"source": str(tmp_path / "train.jsonl")},),
        "dev": ({"source": str(tmp_path / "dev.jsonl")},),
        "config": TINY,
        "pretrained": False,
        "max_length": 48,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 5,
        "learning_rate": 1e-2,
    }
    return DistillRecipe.model_validate({**defaults, **overrides})


@pytest.fixture
def data_folder(tmp_path):
    write_examples(tmp_path / "train.jsonl", [example(i) for i in range(30)])
    write_examples(tmp_path / "dev.jsonl", [example(i) for i in range(30, 36)])
    return tmp_path


def test_ensemble_is_the_mean_of_available_teachers(tmp_path):
    other_probs = {"negative": 0.75, "neutral": 0.25, "positive": 0.0}
    a = write_examples(tmp_path / "a.jsonl", [teacher_example(0), teacher_example(1)])
    b = write_examples(tmp_path / "b.jsonl", [teacher_example(0, "b", other_probs)])
    teachers = RecordedTeachers([str(a), f"{b}#b"])
    first, second, third = example(0), example(1), example(2)
    assert teachers.mean_probs(first.post, first.opinions[0].aspect) == (0.5, 0.25, 0.25)
    assert teachers.mean_probs(second.post, second.opinions[0].aspect) == (0.25, 0.25, 0.5)
    assert teachers.mean_probs(third.post, third.opinions[0].aspect) == ()


def test_invalid_teacher_rows_are_counted_and_skipped(tmp_path):
    valid, duplicate, contradicted, without_probs = (
        teacher_example(0),
        teacher_example(1),
        teacher_example(2),
        teacher_example(3, probs=None),
    )
    contradicting = teacher_example(2, probs={"negative": 1.0, "neutral": 0.0, "positive": 0.0})
    json_lines = [
        e.model_dump_json()
        for e in (valid, duplicate, duplicate, contradicted, contradicting, without_probs)
    ]
    nan_row = json.loads(teacher_example(4).model_dump_json())
    nan_row["opinions"][0]["probs"]["positive"] = float("nan")
    path = tmp_path / "t.jsonl"
    path.write_text(
        "\n".join([*json_lines, json.dumps(nan_row), "{not json"]) + "\n", encoding="utf-8"
    )
    teachers = RecordedTeachers([str(path)])
    has_probs = [
        bool(teachers.mean_probs(example(i).post, example(i).opinions[0].aspect)) for i in range(5)
    ]
    assert has_probs == [True, True, False, False, False]
    assert teachers.left_out == {
        "duplicate opinion in t.jsonl; counted once": 2,
        "opinion in t.jsonl that contradicts another": 2,
        "opinion in t.jsonl without probabilities": 2,
        "line of t.jsonl could not be read": 2,
    }


def test_file_of_several_teachers_needs_a_name(tmp_path):
    path = write_examples(tmp_path / "t.jsonl", [teacher_example(0), teacher_example(1, "other")])
    with pytest.raises(UserError, match="has opinions by other, teacher"):
        RecordedTeachers([str(path)])
    assert RecordedTeachers([f"{path}#other"]).mean_probs(
        example(1).post, example(1).opinions[0].aspect
    )
    with pytest.raises(UserError, match="no file of a teacher's opinions"):
        RecordedTeachers([str(tmp_path / "none.jsonl")])


def test_rows_carry_teacher_probs_and_confidence_weight(data_folder):
    path = write_examples(data_folder / "t.jsonl", [teacher_example(i) for i in range(29)])
    data = DistillData(
        source=str(data_folder / "train.jsonl"), teachers=(str(path),), weight=3, confidence=2
    )
    dataset = build_dataset(data, build_recipe(data_folder))
    assert {r.teacher_probs for r in dataset.rows[:58]} == {(0.25, 0.25, 0.5)}
    assert {r.weight for r in dataset.rows[:58]} == {3 * 0.25}
    assert dataset.rows[58].teacher_probs == ()
    assert dataset.left_out == {"row without a teacher's opinion; learned from its label alone": 2}


def test_student_learns_from_teacher_without_gold(data_folder):
    teacher = distill(build_recipe(data_folder), tokenizer=write_tokenizer(data_folder))
    before = {p.name: p.read_bytes() for p in teacher.iterdir()}
    unlabelled = [e.model_copy(update={"opinions": ()}) for e in map(example, range(30))]
    write_examples(data_folder / "bare.jsonl", unlabelled)
    student_recipe = build_recipe(
        data_folder,
        data=({"source": str(data_folder / "bare.jsonl"), "labels": ""},),
        teacher=str(teacher),
        losses={"distill_kl": 1.0},
        output_dir=str(data_folder / "student"),
        seed=1,
    )
    student = distill(student_recipe, tokenizer=write_tokenizer(data_folder))
    metrics = json.loads((student / "metrics.json").read_text("utf-8"))
    assert metrics["dev"]["sources"][0]["accuracy"] > 0.6
    assert {p.name: p.read_bytes() for p in teacher.iterdir()} == before


def test_teacher_losses_change_the_weights(data_folder):
    tokenizer = write_tokenizer(data_folder)
    teacher = distill(build_recipe(data_folder), tokenizer=tokenizer)
    common = {"teacher": str(teacher), "num_train_epochs": 1, "dev": ()}
    saved_weights = []
    for name, losses in (
        ("off", {}),
        ("soft", {"distill_kl": 1.0}),
        ("text", {"feature_l1": {"text": 1.0}}),
    ):
        student_recipe = build_recipe(
            data_folder, **common, losses=losses, output_dir=str(data_folder / name)
        )
        saved_weights.append(
            (distill(student_recipe, tokenizer=tokenizer) / "model.safetensors").read_bytes()
        )
    assert len(set(saved_weights)) == 3


def test_teacher_is_deterministic_and_changes_are_detected(data_folder):
    folder = distill(
        build_recipe(data_folder, config={**TINY, "dropout": 0.5}),
        tokenizer=write_tokenizer(data_folder),
    )
    teacher = FrozenTeacher(folder)
    module = teacher.loaded.student
    module.train()
    rows = build_dataset(
        DistillData(source=str(data_folder / "dev.jsonl")), build_recipe(data_folder)
    ).rows
    assert torch.equal(teacher(rows)[1].logits, teacher(rows)[1].logits)
    assert not teacher(rows)[1].logits.requires_grad
    teacher.check()
    with torch.no_grad():
        module.head.bias += 1
    with pytest.raises(UserError, match="weights changed during training"):
        teacher.check()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"losses": {"distill_kl": 1.0}}, "neither `teacher` nor `data.teachers`"),
        ({"losses": {"feature_l1": {"text": 1.0}}}, "no `teacher` is named"),
        ({"data": ({"source": "a.jsonl", "labels": ""},)}, "without labels it needs teachers"),
        ({"cross_fit_folds": 1}, "0 for none, or 2 and more"),
    ],
)
def test_recipe_without_learning_signal_is_rejected(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        build_recipe(tmp_path, **overrides)


def test_context_is_appended_in_training_and_inference(data_folder):
    captions = {example(i).post.id: "a sunny beach" for i in range(36)}
    (data_folder / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    cues = {"context": {"files": [str(data_folder / "captions.json")]}}
    context_recipe = build_recipe(data_folder, cues=cues, num_train_epochs=1)
    run = DistillRun(context_recipe, write_tokenizer(data_folder))
    assert all("a sunny beach" in r.context for r in run.rows)
    length = run.collator.length(run.rows[0])
    folder = distill(context_recipe, tokenizer=write_tokenizer(data_folder))
    loaded = load_student(folder)
    assert loaded.config.cues == cues
    assert loaded.collator.length(run.rows[0]) == length
    assert length > DistillRun(
        build_recipe(data_folder), write_tokenizer(data_folder)
    ).collator.length(run.rows[0])
