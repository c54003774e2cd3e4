"""Cross-fitting: every row is spoken of once, by a helper that has not seen its post."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.data import open_source
from gen_msa.distilling.crossfitting import fold_of
from gen_msa.distilling.loop import distil
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.teaching import Voices
from gen_msa.manifest import sha256
from gen_msa.students.common.keeping import open_student
from gen_msa.students.common.reading import probabilities
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossfit")
    write_examples(folder / "train.jsonl", [example(i) for i in range(24)])
    recipe = Recipe(
        output_dir=str(folder / "out"),
        data=({"source": str(folder / "train.jsonl")},),
        numbers=TINY,
        warm=False,
        max_length=48,
        per_device_train_batch_size=8,
        num_train_epochs=2,
        learning_rate=1e-2,
        folds=3,
    )
    distil(recipe, tokenizer=write_tokenizer(folder))
    return folder


def test_every_row_has_one_opinion_with_probabilities(fitted):
    rows = list(open_source(str(fitted / "out" / "crossfit.jsonl")).rows())
    assert [e.post.id for e in rows] == [example(i).post.id for i in range(24)]
    for i, e in enumerate(rows):
        assert [o.aspect for o in e.said_by("crossfit")] == [o.aspect for o in example(i).opinions]
        assert not e.said_by("gold")
        assert all(o.probs for o in e.opinions)


def test_who_speaks_of_a_post_has_not_seen_it(fitted):
    voices = Voices([str(fitted / "out" / "crossfit.jsonl")])
    from gen_msa.students import Row

    said = set()
    for i in range(24):
        post, about = example(i).post, example(i).opinions[0].aspect
        fold = fold_of(post.id, 3)
        said.add(fold)
        opened = open_student(fitted / "out" / f"fold-{fold}" / "student")
        row = Row(post.id, post.text, about)
        (shares,) = probabilities(opened.student, opened.collate, [row])
        assert voices.soft(post, about) == pytest.approx(shares, abs=1e-5)
    assert said == {0, 1, 2}


def test_helpers_differ_from_each_other_and_from_the_student(fitted):
    folders = [
        fitted / "out" / "student",
        *(fitted / "out" / f"fold-{f}" / "student" for f in range(3)),
    ]
    assert len({sha256(f / "model.safetensors") for f in folders}) == 4
