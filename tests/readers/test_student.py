"""A trained student as a reader: probabilities for each aspect, and no folder it cannot trust."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa import manifest
from gen_msa.errors import UserError
from gen_msa.metrics import metrics
from gen_msa.metrics._pairs import Pair
from gen_msa.readers import ReaderSettings, make
from gen_msa.students.common import keeping
from gen_msa.types import WHOLE_POST, Media, Post, Status
from tests.fixtures.posts import post
from tests.fixtures.tiny_students import WIDTH, student, widths, words


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


def test_each_aspect_gets_a_polarity_and_probabilities_and_no_reason_where_none_is_asked(folder):
    posts = [post(i) for i in range(5)]
    readings = reader(folder(), reasons=False).read(posts)
    assert [[o.aspect for o in r.opinions] for r in readings] == [list(p.aspects) for p in posts]
    for o in (o for r in readings for o in r.opinions):
        assert o.polarity == max(o.probs, key=o.probs.get)
        assert o.probability == max(o.probs.values())
        assert (o.explanation, o.evidence, o.status) == (None, (), Status.OK)
        assert o.how["aspect_source"] == "given"
        assert o.how["student"].startswith("text@")
        assert "explanation_source" not in o.how


def _loud(made):
    """Weights so large that words change the answer."""
    for weight in made.parameters():
        weight.data *= 6


def test_reasons_name_the_aspect_and_quote_the_post_and_change_no_answer(folder):
    made, posts = folder(change=_loud), [post(i) for i in range(12)]
    plain = reader(made, reasons=False).read(posts)
    readings = reader(made).read(posts)
    assert readings == reader(made, backend={"batch_size": 64}).read(posts)
    pairs = []
    for p, without, told in zip(posts, plain, readings, strict=True):
        for old, new in zip(without.opinions, told.opinions, strict=True):
            assert (new.polarity, new.probs) == (old.polarity, old.probs)
            assert new.how["explanation_source"] == "template"
            assert all(p.text[e.start :].startswith(e.quote) for e in new.evidence)
            assert all(f'"{e.quote}"' in new.explanation for e in new.evidence)
            pairs.append(Pair(p, new, new, p.id))
    assert any(p.said.evidence for p in pairs)
    for name, figure in (("naming", "named"), ("quoting", "verbatim")):
        metric = metrics[name]()
        assert metric.values(metric.rows(pairs).sum(0))[figure] == 1


def test_what_stands_near_the_aspect_is_told_unless_no_cue_is_wanted(folder):
    made, posts = folder(change=_loud), [post(i) for i in range(12)]
    near, none = (
        [o for r in reader(made, **more).read(posts) for o in r.opinions]
        for more in ({}, {"cues": {}})
    )
    assert {o.how.get("cue_source") for o in near} == {"window"}
    assert {o.how.get("cue_source") for o in none} == {None}
    assert [o.evidence for o in near] == [o.evidence for o in none]


@pytest.fixture
def onlooker(tmp_path):
    """A folder with a student that sees pictures, and files of features for two posts."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    made = student("mmslf")
    _loud(made)
    with manifest.staged(tmp_path / "m") as draft:
        collate = words(widths=widths("mmslf"), max_length=40)
        keeping.write(draft, made, collate, text="post", name="mmslf")
    save_file({m: torch.randn(3, WIDTH) for m in ("audio", "video")}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no tensors")
    return tmp_path


def _heard(i, file):
    media = tuple(Media(kind="features", path=file, key=m) for m in ("audio", "video"))
    return post(i).model_copy(update={"media": media})


def _read(onlooker, posts, **settings):
    made = ReaderSettings(reader=f"student:{onlooker / 'm'}", reasons=False, **settings)
    return make(made, onlooker).read(posts)


def test_features_of_a_post_are_read(onlooker):
    (with_,), (without,) = (_read(onlooker, [p]) for p in (_heard(1, "a.safetensors"), post(1)))
    assert with_.opinions[0].probs != without.opinions[0].probs
    told = make(ReaderSettings(reader=f"student:{onlooker / 'm'}"), onlooker)
    assert told.read([_heard(1, "a.safetensors")])[0].opinions[0].explanation


def test_features_that_cannot_be_read_are_said_refused_or_fatal(onlooker):
    posts = [_heard(0, "b.safetensors"), _heard(1, "a.safetensors")]
    first, second = _read(onlooker, posts)
    assert first.opinions[0].how["audio"].endswith("read without")
    assert "audio" not in second.opinions[0].how
    first, kept = _read(onlooker, posts, bad_picture="drop")
    assert "b.safetensors" in first.refused
    # Read without a neighbour, the last digits may differ.
    assert kept.opinions[0].polarity is second.opinions[0].polarity
    assert kept.opinions[0].probs == pytest.approx(second.opinions[0].probs, abs=1e-6)
    with pytest.raises(UserError, match=r"b\.safetensors"):
        _read(onlooker, posts, bad_picture="fail")


def test_a_student_is_shown_the_cues_it_was_trained_with_and_no_others(tmp_path):
    made = student()
    _loud(made)
    with manifest.staged(tmp_path / "s") as draft:
        cues = {"window": {"words": 1}}
        keeping.write(draft, made, words(), text="post", name="text", cues=cues)
    posts = [post(i) for i in range(4)]
    own = reader(tmp_path / "s").read(posts)
    assert own == reader(tmp_path / "s", cues={"window": {"words": 1}}).read(posts)
    with pytest.raises(UserError, match="trained with the cues window"):
        reader(tmp_path / "s", cues={"window": {"words": 3}})
    wide = {"cues": {"window": {"words": 3}}, "adapter_settings": "override"}
    other = reader(tmp_path / "s", **wide)
    assert other.read(posts) != own
    assert other.fingerprint() != reader(tmp_path / "s").fingerprint()


def test_readers_of_prompts_cannot_leave_out_their_reasons():
    with pytest.raises(UserError, match="reasons=false is for students"):
        make(ReaderSettings(reader="echo", reasons=False), Path())


def test_an_exported_student_says_the_same(folder, tmp_path):
    for package in ("onnxruntime", "onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed (extra onnx)")
    from gen_msa.students.exporting.writing import export

    made, posts = folder(change=_loud, max_length=40), [post(i) for i in range(8)]
    export(made, tmp_path / "onnx")
    export(made, tmp_path / "int8", int8=True)
    ours, graph = ([r.opinions for r in reader(f).read(posts)] for f in (made, tmp_path / "onnx"))
    for one, other in zip(sum(ours, ()), sum(graph, ()), strict=True):
        assert (one.aspect, one.polarity, one.evidence) == (
            other.aspect,
            other.polarity,
            other.evidence,
        )
        assert one.explanation == other.explanation
        assert list(one.probs.values()) == pytest.approx(list(other.probs.values()), abs=1e-4)
        assert other.how["engine"] == "onnx"
    small = reader(tmp_path / "int8", backend={"batch_size": 8})
    assert small.read(posts)[3] == reader(tmp_path / "int8").read(posts[3:4])[0]
    with pytest.raises(UserError, match="reads in int8, not in float32"):
        reader(tmp_path / "int8", backend={"dtype": "float32"})
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"model\.onnx has 1 bytes"):
        reader(tmp_path / "onnx")


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


def test_a_student_of_words_says_of_a_picture_that_it_did_not_look(folder):
    made = reader(folder())
    pictured, plain = made.read([post(0, pictures=["gone.png"]), post(0)])
    assert {o.how.get("picture") for o in pictured.opinions} == {"not looked at by this student"}
    assert not [o for o in plain.opinions if "picture" in o.how]
    assert [o.probs for o in pictured.opinions] == [o.probs for o in plain.opinions]


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
    assert reader(made, reasons=False).fingerprint() != first
    assert reader(folder()).fingerprint() != first


@pytest.mark.parametrize(("key", "value"), [("device", "cuda"), ("dtype", "bfloat16")])
def test_a_device_or_precision_it_does_not_have_is_refused(folder, key, value):
    with pytest.raises(UserError, match=f"not {'on' if key == 'device' else 'in'} {value}"):
        reader(folder(), backend={key: value})
