"""A trained student as a reader: probabilities for each aspect, and no folder it cannot trust."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa import manifest
from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings, make
from gen_msa.students.common import keeping
from gen_msa.types import WHOLE_POST, Post, Status
from tests.fixtures.posts import post
from tests.fixtures.tiny_students import student, words


@pytest.fixture
def folder(tmp_path):
    """A function: a sealed folder with a tiny untrained student."""

    def kept(text="post", change=lambda s: None, **options):
        made = student()
        change(made)
        with manifest.staged(tmp_path / "s") as draft:
            keeping.write(draft, made, words(**options), text=text, name="text")
        return tmp_path / "s"

    return kept


def reader(folder, **settings):
    return make(ReaderSettings(reader=f"student:{folder}", **settings), Path())


def test_each_aspect_gets_a_polarity_and_probabilities_and_no_reason(folder):
    posts = [post(i) for i in range(5)]
    readings = reader(folder()).read(posts)
    assert [[o.aspect for o in r.opinions] for r in readings] == [list(p.aspects) for p in posts]
    for o in (o for r in readings for o in r.opinions):
        assert o.polarity == max(o.probs, key=o.probs.get)
        assert o.probability == max(o.probs.values())
        assert (o.explanation, o.evidence, o.status) == (None, (), Status.OK)
        assert o.how["aspect_source"] == "given"
        assert o.how["student"].startswith("text@")


def test_batches_change_nothing(folder):
    made = folder()
    posts = [post(i) for i in range(7)]
    some, one = (
        [
            [round(p, 5) for p in o.probs.values()]
            for r in reader(made, backend={"batch_size": size}).read(posts)
            for o in r.opinions
        ]
        for size in (8, 1)
    )
    assert all(a == pytest.approx(b, abs=2e-5) for a, b in zip(some, one, strict=True))


def test_no_posts_and_posts_without_aspects_are_read(folder):
    made = reader(folder(), aspects="overall")
    assert made.read([]) == []
    (reading,) = made.read([Post(id="1", text="")])
    assert [o.aspect for o in reading.opinions] == [WHOLE_POST]
    assert made.preview([post(0)]) == []


def test_what_was_cut_and_what_is_read_as_a_reason_is_said(folder):
    made = reader(folder("reason", max_length=8, mask_labels=True))
    said = [o.how for o in made.read([post(0)])[0].opinions]
    assert {h["text"] for h in said} == {"cut at 8 tokens"}
    assert {h["reads"] for h in said} == {"the text as a reason"}


def test_a_reader_of_reasons_does_not_see_the_label(folder):
    made = reader(folder("reason", mask_labels=True))
    texts = [f"it was {word}, good" for word in ("positive", "negative", "neutral")]
    said = made.read([Post(id=t, text=t, aspects=(WHOLE_POST,)) for t in texts])
    assert len({tuple(r.opinions[0].probs.values()) for r in said}) == 1


def test_logits_that_are_no_numbers_are_an_error_of_that_opinion(folder):
    def poison(made):
        made.head.bias.data[0] = float("nan")

    opinion = reader(folder(change=poison)).read([post(0)])[0].opinions[0]
    assert (opinion.polarity, opinion.probs, opinion.status) == (None, None, Status.ERROR)
    assert opinion.how["error"] == "its logits are not finite"


@pytest.mark.parametrize("file", ["model.safetensors", "student.json", "tokenizer.json"])
def test_changed_bytes_are_refused(folder, file):
    path = folder() / file
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(UserError, match="was altered"):
        reader(path.parent)


def test_a_folder_that_was_never_sealed_is_refused(folder, tmp_path):
    (folder() / manifest.NAME).unlink()
    with pytest.raises(UserError, match="it is not whole"):
        reader(tmp_path / "s")
    with pytest.raises(UserError, match="no folder"):
        reader("nowhere")


def test_the_fingerprint_is_that_of_the_bytes(folder):
    made = folder()
    first = reader(made).fingerprint()
    assert first == reader(made).fingerprint()
    assert first["revision"] == manifest.sha256(made / manifest.NAME)
    assert reader(folder()).fingerprint() != first


@pytest.mark.parametrize(("key", "value"), [("device", "cuda"), ("dtype", "bfloat16")])
def test_a_device_or_precision_it_does_not_have_is_refused(folder, key, value):
    with pytest.raises(UserError, match=f"not {'on' if key == 'device' else 'in'} {value}"):
        reader(folder(), backend={key: value})
