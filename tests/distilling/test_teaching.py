"""Teachers: ensembles, faulty files, one at hand that is never changed, and what they are for."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.distilling.loop import Run, distil  # noqa: E402
from gen_msa.distilling.recipe import Data, Recipe  # noqa: E402
from gen_msa.distilling.rows import gather  # noqa: E402
from gen_msa.distilling.teaching import Teacher, Voices  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.students.common.keeping import open_student  # noqa: E402
from gen_msa.types import Opinion  # noqa: E402
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer  # noqa: E402

SHARES = {"negative": 0.25, "neutral": 0.25, "positive": 0.5}


def taught(i, by="teacher", probs=SHARES):
    e = example(i)
    said = [Opinion(by=by, aspect=o.aspect, polarity="positive", probs=probs) for o in e.opinions]
    return e.model_copy(update={"opinions": tuple(said)})


def recipe(tmp_path, **changed):
    told = {
        "output_dir": str(tmp_path / "out"),
        "data": ({"source": str(tmp_path / "train.jsonl")},),
        "dev": ({"source": str(tmp_path / "dev.jsonl")},),
        "numbers": TINY,
        "warm": False,
        "max_length": 48,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 5,
        "learning_rate": 1e-2,
    }
    return Recipe.model_validate({**told, **changed})


@pytest.fixture
def files(tmp_path):
    write_examples(tmp_path / "train.jsonl", [example(i) for i in range(30)])
    write_examples(tmp_path / "dev.jsonl", [example(i) for i in range(30, 36)])
    return tmp_path


def test_an_ensemble_is_the_mean_of_those_who_speak(tmp_path):
    other = {"negative": 0.75, "neutral": 0.25, "positive": 0.0}
    a = write_examples(tmp_path / "a.jsonl", [taught(0), taught(1)])
    b = write_examples(tmp_path / "b.jsonl", [taught(0, "b", other)])
    voices = Voices([str(a), f"{b}#b"])
    first, second, third = example(0), example(1), example(2)
    assert voices.soft(first.post, first.opinions[0].aspect) == (0.5, 0.25, 0.25)
    assert voices.soft(second.post, second.opinions[0].aspect) == (0.25, 0.25, 0.5)
    assert voices.soft(third.post, third.opinions[0].aspect) == ()


def test_a_faulty_teachers_file_is_counted_row_by_row_and_the_rest_is_used(tmp_path):
    good, twice, against, silent = taught(0), taught(1), taught(2), taught(3, probs=None)
    turned = taught(2, probs={"negative": 1.0, "neutral": 0.0, "positive": 0.0})
    lines = [e.model_dump_json() for e in (good, twice, twice, against, turned, silent)]
    nan = json.loads(taught(4).model_dump_json())
    nan["opinions"][0]["probs"]["positive"] = float("nan")
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join([*lines, json.dumps(nan), "{not json"]) + "\n", encoding="utf-8")
    voices = Voices([str(path)])
    spoken = [bool(voices.soft(example(i).post, example(i).opinions[0].aspect)) for i in range(5)]
    assert spoken == [True, True, False, False, False]
    assert voices.left_out == {
        "opinion in t.jsonl said twice; counted once": 2,
        "opinion in t.jsonl that contradicts another": 2,
        "opinion in t.jsonl without probabilities": 2,
        "line of t.jsonl could not be read": 2,
    }


def test_a_file_by_several_must_be_told_whose_word_it_is(tmp_path):
    path = write_examples(tmp_path / "t.jsonl", [taught(0), taught(1, "other")])
    with pytest.raises(UserError, match="holds opinions by other, teacher"):
        Voices([str(path)])
    assert Voices([f"{path}#other"]).soft(example(1).post, example(1).opinions[0].aspect)
    with pytest.raises(UserError, match="no file of a teacher's opinions"):
        Voices([str(tmp_path / "none.jsonl")])


def test_rows_carry_the_teachers_shares_and_its_confidence_as_weight(files):
    path = write_examples(files / "t.jsonl", [taught(i) for i in range(29)])
    data = Data(source=str(files / "train.jsonl"), teachers=(str(path),), weight=3, confidence=2)
    found = gather(data, recipe(files))
    assert {r.soft for r in found.rows[:58]} == {(0.25, 0.25, 0.5)}
    assert {r.weight for r in found.rows[:58]} == {3 * 0.25}
    assert found.rows[58].soft == ()
    assert found.left_out == {"row that no teacher speaks of; learned from its label alone": 2}


def test_without_any_gold_a_student_learns_from_its_teacher_alone(files):
    teacher = distil(recipe(files), tokenizer=write_tokenizer(files))
    before = {p.name: p.read_bytes() for p in teacher.iterdir()}
    bare = [e.model_copy(update={"opinions": ()}) for e in map(example, range(30))]
    write_examples(files / "bare.jsonl", bare)
    asked = recipe(
        files,
        data=({"source": str(files / "bare.jsonl"), "labels": ""},),
        teacher=str(teacher),
        losses={"soft": 1.0},
        output_dir=str(files / "student"),
        seed=1,
    )
    student = distil(asked, tokenizer=write_tokenizer(files))
    told = json.loads((student / "figures.json").read_text("utf-8"))
    assert told["dev"]["sources"][0]["accuracy"] > 0.6
    assert {p.name: p.read_bytes() for p in teacher.iterdir()} == before


def test_what_the_teacher_says_changes_what_is_learned(files):
    words = write_tokenizer(files)
    teacher = distil(recipe(files), tokenizer=words)
    common = {"teacher": str(teacher), "num_train_epochs": 1, "dev": ()}
    kept = []
    for name, losses in (
        ("off", {}),
        ("soft", {"soft": 1.0}),
        ("text", {"features": {"text": 1.0}}),
    ):
        asked = recipe(files, **common, losses=losses, output_dir=str(files / name))
        kept.append((distil(asked, tokenizer=words) / "model.safetensors").read_bytes())
    assert len(set(kept)) == 3


def test_a_teacher_says_the_same_twice_and_cannot_be_changed_unseen(files):
    folder = distil(
        recipe(files, numbers={**TINY, "dropout": 0.5}), tokenizer=write_tokenizer(files)
    )
    teacher = Teacher(folder)
    module = teacher.opened.student
    module.train()
    rows = gather(Data(source=str(files / "dev.jsonl")), recipe(files)).rows
    assert torch.equal(teacher(rows)[1].logits, teacher(rows)[1].logits)
    assert not teacher(rows)[1].logits.requires_grad
    teacher.check()
    with torch.no_grad():
        module.head.bias += 1
    with pytest.raises(UserError, match="were changed while it taught"):
        teacher.check()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"losses": {"soft": 1.0}}, "neither `teacher` nor `data.teachers`"),
        ({"losses": {"features": {"text": 1.0}}}, "no `teacher` is named"),
        ({"data": ({"source": "a.jsonl", "labels": ""},)}, "without labels it needs teachers"),
        ({"folds": 1}, "0 for none, or 2 and more"),
    ],
)
def test_a_recipe_that_has_nothing_to_learn_from_is_refused(tmp_path, changed, said):
    with pytest.raises(ValueError, match=said):
        recipe(tmp_path, **changed)


def test_a_context_is_read_at_the_end_of_the_text_then_and_ever_after(files):
    known = {example(i).post.id: "a sunny beach" for i in range(36)}
    (files / "captions.json").write_text(json.dumps(known), encoding="utf-8")
    cues = {"context": {"files": [str(files / "captions.json")]}}
    asked = recipe(files, cues=cues, num_train_epochs=1)
    run = Run(asked, write_tokenizer(files))
    assert all("a sunny beach" in r.context for r in run.rows)
    longer = run.collate.length(run.rows[0])
    folder = distil(asked, tokenizer=write_tokenizer(files))
    opened = open_student(folder)
    assert opened.kept.cues == cues
    assert opened.collate.length(run.rows[0]) == longer
    assert longer > Run(recipe(files), write_tokenizer(files)).collate.length(run.rows[0])
