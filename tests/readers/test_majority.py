"""The majority reader: one label, the shares of the classes, and nothing of a test split."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings, make
from gen_msa.readers.majority import Majority
from gen_msa.types import WHOLE_POST, Aspect, Example, Opinion, Polarity, Post
from tests.fixtures.posts import post

NEG, NEU, POS = Polarity


def source(path, labels, *extra):
    examples = [
        Example(
            post=Post(id=str(i), text="soup", aspects=(Aspect(term="soup", start=0),)),
            opinions=(
                Opinion(by="gold", aspect=Aspect(term="soup", start=0), polarity=p),
                Opinion(by="teacher", aspect=Aspect(term="soup", start=0), polarity=NEG),
            ),
        )
        for i, p in enumerate(labels)
    ]
    path.write_text("\n".join([*(e.model_dump_json() for e in examples), *extra]) + "\n")
    return path


def reader(target, **settings):
    return make(ReaderSettings(reader=f"majority:{target}", **settings), Path())


def test_it_says_the_most_frequent_gold_label_of_every_aspect_with_the_shares(tmp_path):
    path = source(tmp_path / "train.jsonl", [POS, POS, NEU, None])
    (reading,) = reader(path).read([post(0)])
    assert [o.aspect for o in reading.opinions] == list(post(0).aspects)
    for o in reading.opinions:
        assert o.polarity is POS
        assert o.probs == pytest.approx({NEG: 0, NEU: 1 / 3, POS: 2 / 3})
        assert o.explanation is None
        assert o.by == f"majority:{path}"
        assert o.how == {"majority_of": f"{path} (n=3)", "aspect_source": "given"}


def test_rows_that_could_not_be_read_are_told(tmp_path):
    path = source(tmp_path / "train.jsonl", [POS], "{broken")
    ((opinion, *_),) = (r.opinions for r in reader(path).read([post(0)]))
    assert opinion.how["majority_of"] == f"{path} (n=1, 1 rows could not be read)"


@given(st.dictionaries(st.sampled_from(list(Polarity)), st.integers(1, 5), min_size=1))
def test_a_tie_goes_to_the_earlier_label_whatever_the_order_of_counting(counts):
    settings = ReaderSettings(reader="majority:x")
    backwards = dict(reversed(counts.items()))
    said = [
        Majority(c, settings, "x").read([post(0)])[0].opinions[0].polarity
        for c in (counts, backwards)
    ]
    most = max(counts.values())
    assert said == [next(p for p in Polarity if counts.get(p) == most)] * 2


def test_a_post_read_as_a_whole_gets_one_opinion(tmp_path):
    path = source(tmp_path / "train.jsonl", [NEU])
    (reading,) = reader(path, aspects="overall").read([post(0)])
    assert [o.aspect for o in reading.opinions] == [WHOLE_POST]


@pytest.mark.parametrize("target", ["twitter2015:test", "mine/test.jsonl", "x/TEST.tsv"])
def test_a_test_split_is_refused(target):
    with pytest.raises(UserError, match="labels of a test split are not to be counted"):
        reader(target)


def test_a_source_without_gold_and_no_source_are_errors(tmp_path):
    path = source(tmp_path / "train.jsonl", [None])
    with pytest.raises(UserError, match="has no opinion by gold"):
        reader(path)
    with pytest.raises(UserError, match="majority needs labels"):
        reader("")


def test_it_cannot_list_aspects_and_says_so(tmp_path):
    path = source(tmp_path / "train.jsonl", [POS])
    with pytest.raises(UserError, match="cannot list aspects"):
        reader(path, aspects="reader").read([post(0)])


def test_other_labels_are_another_reader(tmp_path):
    prints = [
        reader(source(tmp_path / "train.jsonl", labels)).fingerprint()
        for labels in ([POS], [POS], [NEG])
    ]
    assert prints[0] == prints[1] != prints[2]
    assert reader(tmp_path / "train.jsonl").preview([post(0)]) == []
