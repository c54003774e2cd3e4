"""Cross-fitting: every row is predicted once, by a model that was not trained on its post."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.data import open_examples
from gen_msa.distillation.cross_fitting import fold_of
from gen_msa.distillation.dataset import RecordedTeachers
from gen_msa.distillation.loop import distill
from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.manifest import sha256
from gen_msa.models.inference.predict import predict_probabilities
from gen_msa.models.inference.serialization import load_student
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer


@pytest.fixture(scope="module")
def cross_fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossfit")
    write_examples(folder / "train.jsonl", [example(i) for i in range(24)])
    recipe = DistillRecipe(
        output_dir=str(folder / "out"),
        data=({"source": str(folder / "train.jsonl")},),
        config=TINY,
        pretrained=False,
        max_length=48,
        per_device_train_batch_size=8,
        num_train_epochs=2,
        learning_rate=1e-2,
        cross_fit_folds=3,
    )
    distill(recipe, tokenizer=write_tokenizer(folder))
    return folder


def test_every_row_has_one_opinion_with_probs(cross_fitted):
    rows = list(open_examples(str(cross_fitted / "out" / "crossfit.jsonl")).rows())
    assert [e.post.id for e in rows] == [example(i).post.id for i in range(24)]
    for i, e in enumerate(rows):
        assert [o.aspect for o in e.opinions_by("crossfit")] == [
            o.aspect for o in example(i).opinions
        ]
        assert not e.opinions_by("gold")
        assert all(o.probs for o in e.opinions)


def test_post_is_predicted_by_a_model_that_did_not_train_on_it(cross_fitted):
    teachers = RecordedTeachers([str(cross_fitted / "out" / "crossfit.jsonl")])
    from gen_msa.models import AspectExample

    folds = set()
    for i in range(24):
        post, aspect = example(i).post, example(i).opinions[0].aspect
        fold = fold_of(post.id, 3)
        folds.add(fold)
        loaded = load_student(cross_fitted / "out" / f"fold-{fold}" / "student")
        row = AspectExample(post.id, post.text, aspect)
        (probs,) = predict_probabilities(loaded.student, loaded.collator, [row])
        assert teachers.mean_probs(post, aspect) == pytest.approx(probs, abs=1e-5)
    assert folds == {0, 1, 2}


def test_fold_models_and_student_differ(cross_fitted):
    folders = [
        cross_fitted / "out" / "student",
        *(cross_fitted / "out" / f"fold-{f}" / "student" for f in range(3)),
    ]
    assert len({sha256(f / "model.safetensors") for f in folders}) == 4
