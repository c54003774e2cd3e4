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
from gen_msa.models.inference import serialization
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import OVERALL_ASPECT, Media, Post, Status
from tests.fixtures.posts import post
from tests.fixtures.tiny_students import WIDTH, feature_widths, make_collator, make_student


@pytest.fixture
def folder(tmp_path):
    """A function: a sealed folder with a tiny untrained student."""

    def save(text="post", change=lambda s: None, **options):
        model = make_student()
        change(model)
        with manifest.atomic_directory(tmp_path / "s") as draft:
            serialization.save_student(
                draft, model, make_collator(**options), text=text, name="text"
            )
        return tmp_path / "s"

    return save


def make_predictor(folder, **settings):
    return make(PredictorSettings(model=f"student:{folder}", **settings), Path())


def test_student_predicts_probs_for_each_aspect(folder):
    posts = [post(i) for i in range(5)]
    predictions = make_predictor(folder(), explanations=False).predict(posts)
    assert [[o.aspect for o in r.opinions] for r in predictions] == [list(p.aspects) for p in posts]
    for o in (o for r in predictions for o in r.opinions):
        assert o.polarity == max(o.probs, key=o.probs.get)
        assert o.probability == max(o.probs.values())
        assert (o.explanation, o.evidence, o.status) == (None, (), Status.OK)
        assert o.provenance["aspect_source"] == "given"
        assert o.provenance["student"].startswith("text@")
        assert "explanation_source" not in o.provenance


def _scale_weights(model):
    """Weights so large that words change the answer."""
    for weight in model.parameters():
        weight.data *= 6


def test_explanations_name_aspect_and_quote_post(folder):
    model_folder, posts = folder(change=_scale_weights), [post(i) for i in range(12)]
    unexplained = make_predictor(model_folder, explanations=False).predict(posts)
    predictions = make_predictor(model_folder).predict(posts)
    other = make_predictor(model_folder, backend={"batch_size": 64}).predict(posts)
    for one, two in zip(predictions, other, strict=True):
        for a, b in zip(one.opinions, two.opinions, strict=True):
            assert a.probs == pytest.approx(b.probs, abs=1e-5)
            assert a.model_copy(update={"probs": b.probs}) == b
    pairs = []
    for p, plain_prediction, prediction in zip(posts, unexplained, predictions, strict=True):
        for old, new in zip(plain_prediction.opinions, prediction.opinions, strict=True):
            assert (new.polarity, new.probs) == (old.polarity, old.probs)
            assert new.provenance["explanation_source"] == "template"
            assert all(p.text[e.start :].startswith(e.quote) for e in new.evidence)
            assert all(f'"{e.quote}"' in new.explanation for e in new.evidence)
            pairs.append(Pair(p, new, new, p.id))
    assert any(p.prediction.evidence for p in pairs)
    for name, metric_key in (("aspect_mention", "named"), ("quote_fidelity", "verbatim")):
        metric = metrics[name]()
        assert metric.compute(metric.row_statistics(pairs).sum(0))[metric_key] == 1


def test_explanation_uses_window_cue_unless_cues_are_empty(folder):
    model_folder, posts = folder(change=_scale_weights), [post(i) for i in range(12)]
    with_cues, without_cues = (
        [o for r in make_predictor(model_folder, **more).predict(posts) for o in r.opinions]
        for more in ({}, {"cues": {}})
    )
    assert {o.provenance.get("cue_source") for o in with_cues} == {"window"}
    assert {o.provenance.get("cue_source") for o in without_cues} == {None}
    assert [o.evidence for o in with_cues] == [o.evidence for o in without_cues]


@pytest.fixture
def multimodal_folder(tmp_path):
    """A folder with a student that sees pictures, and files of features for two posts."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = make_student("mmslf")
    _scale_weights(model)
    with manifest.atomic_directory(tmp_path / "m") as draft:
        collate = make_collator(widths=feature_widths("mmslf"), max_length=40)
        serialization.save_student(draft, model, collate, text="post", name="mmslf")
    save_file({m: torch.randn(3, WIDTH) for m in ("audio", "video")}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no tensors")
    return tmp_path


def _post_with_features(i, file):
    media = tuple(Media(kind="features", path=file, key=m) for m in ("audio", "video"))
    return post(i).model_copy(update={"media": media})


def _predict_multimodal(multimodal_folder, posts, **settings):
    predictor_settings = PredictorSettings(
        model=f"student:{multimodal_folder / 'm'}", explanations=False, **settings
    )
    return make(predictor_settings, multimodal_folder).predict(posts)


def test_features_of_a_post_are_used(multimodal_folder):
    (with_features,), (without_features,) = (
        _predict_multimodal(multimodal_folder, [p])
        for p in (_post_with_features(1, "a.safetensors"), post(1))
    )
    assert with_features.opinions[0].probs != without_features.opinions[0].probs
    predictor = make(
        PredictorSettings(model=f"student:{multimodal_folder / 'm'}"), multimodal_folder
    )
    assert predictor.predict([_post_with_features(1, "a.safetensors")])[0].opinions[0].explanation


def test_unreadable_features_are_noted_rejected_or_fatal(multimodal_folder):
    posts = [_post_with_features(0, "b.safetensors"), _post_with_features(1, "a.safetensors")]
    first, second = _predict_multimodal(multimodal_folder, posts)
    assert first.opinions[0].provenance["audio"].endswith("predicted without it")
    assert "audio" not in second.opinions[0].provenance
    first, remaining = _predict_multimodal(multimodal_folder, posts, bad_image="drop")
    assert "b.safetensors" in first.rejection
    # Read without a neighbour, the last digits may differ.
    assert remaining.opinions[0].polarity is second.opinions[0].polarity
    assert remaining.opinions[0].probs == pytest.approx(second.opinions[0].probs, abs=1e-6)
    with pytest.raises(UserError, match=r"b\.safetensors"):
        _predict_multimodal(multimodal_folder, posts, bad_image="fail")


def test_student_uses_only_the_cues_of_its_training(tmp_path):
    model = make_student()
    _scale_weights(model)
    with manifest.atomic_directory(tmp_path / "s") as draft:
        cues = {"window": {"words": 1}}
        serialization.save_student(
            draft, model, make_collator(), text="post", name="text", cues=cues
        )
    posts = [post(i) for i in range(4)]
    with_trained_cues = make_predictor(tmp_path / "s").predict(posts)
    assert with_trained_cues == make_predictor(
        tmp_path / "s", cues={"window": {"words": 1}}
    ).predict(posts)
    with pytest.raises(UserError, match="trained with other cues: window"):
        make_predictor(tmp_path / "s", cues={"window": {"words": 3}})
    override = {"cues": {"window": {"words": 3}}, "adapter_settings": "override"}
    overridden = make_predictor(tmp_path / "s", **override)
    assert overridden.predict(posts) != with_trained_cues
    assert overridden.fingerprint() != make_predictor(tmp_path / "s").fingerprint()


def test_onnx_export_predicts_the_same(folder, tmp_path):
    for package in ("onnxruntime", "onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed (extra onnx)")
    from gen_msa.models.onnx_export import export_student

    model_folder, posts = folder(change=_scale_weights, max_length=40), [post(i) for i in range(8)]
    export_student(model_folder, tmp_path / "onnx")
    export_student(model_folder, tmp_path / "int8", int8=True)
    torch_opinions, onnx_opinions = (
        [r.opinions for r in make_predictor(f).predict(posts)]
        for f in (model_folder, tmp_path / "onnx")
    )
    for expected, actual in zip(sum(torch_opinions, ()), sum(onnx_opinions, ()), strict=True):
        assert (expected.aspect, expected.polarity, expected.evidence) == (
            actual.aspect,
            actual.polarity,
            actual.evidence,
        )
        assert expected.explanation == actual.explanation
        assert list(expected.probs.values()) == pytest.approx(list(actual.probs.values()), abs=1e-4)
        assert actual.provenance["engine"] == "onnx"
    int8_predictor = make_predictor(tmp_path / "int8", backend={"batch_size": 8})
    assert (
        int8_predictor.predict(posts)[3] == make_predictor(tmp_path / "int8").predict(posts[3:4])[0]
    )
    with pytest.raises(UserError, match="runs in int8, not in float32"):
        make_predictor(tmp_path / "int8", backend={"dtype": "float32"})
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"model\.onnx has 1 bytes"):
        make_predictor(tmp_path / "onnx")


def test_batch_size_changes_nothing(folder):
    model_folder = folder()
    posts = [post(i) for i in range(7)]
    batched, single = (
        [
            [round(p, 5) for p in o.probs.values()]
            for r in make_predictor(model_folder, backend={"batch_size": size}).predict(posts)
            for o in r.opinions
        ]
        for size in (8, 1)
    )
    assert all(a == pytest.approx(b, abs=2e-5) for a, b in zip(batched, single, strict=True))


def test_no_posts_and_overall_posts_are_predicted(folder):
    predictor = make_predictor(folder(), aspects="overall")
    assert predictor.predict([]) == []
    (prediction, blank) = predictor.predict([Post(id="1", text="Oh."), Post(id="2", text="")])
    assert blank.rejection == "the post has no text, and no image of it was seen"
    assert [o.aspect for o in prediction.opinions] == [OVERALL_ASPECT]
    assert predictor.preview([post(0)]) == []


def test_text_student_notes_that_an_image_is_unused(folder):
    predictor = make_predictor(folder())
    with_image, without_image = predictor.predict([post(0, images=["gone.png"]), post(0)])
    assert {o.provenance.get("image") for o in with_image.opinions} == {"not used by this student"}
    assert not [o for o in without_image.opinions if "image" in o.provenance]
    assert [o.probs for o in with_image.opinions] == [o.probs for o in without_image.opinions]


def test_truncation_and_explanation_input_are_noted(folder):
    predictor = make_predictor(folder("explanation", max_length=8, mask_labels=True))
    provenances = [o.provenance for o in predictor.predict([post(0)])[0].opinions]
    assert {h["text"] for h in provenances} == {"cut at 8 tokens"}
    assert {p["input"] for p in provenances} == {"the text as an explanation"}


def test_explanation_classifier_does_not_see_the_label(folder):
    predictor = make_predictor(folder("explanation", mask_labels=True))
    texts = [f"it was {word}, good" for word in ("positive", "negative", "neutral")]
    predictions = predictor.predict([Post(id=t, text=t, aspects=(OVERALL_ASPECT,)) for t in texts])
    first, *others = (list(r.opinions[0].probs.values()) for r in predictions)
    assert all(probs == pytest.approx(first, abs=1e-6) for probs in others)


def test_non_finite_logits_are_an_error_of_that_opinion(folder):
    def poison(model):
        model.head.bias.data[0] = float("nan")

    opinion = make_predictor(folder(change=poison)).predict([post(0)])[0].opinions[0]
    assert (opinion.polarity, opinion.probs, opinion.status) == (None, None, Status.ERROR)
    assert opinion.provenance["error"] == "the logits are not finite"


@pytest.mark.parametrize("file", ["model.safetensors", "student.json", "tokenizer.json"])
def test_altered_bytes_are_rejected(folder, file):
    path = folder() / file
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(UserError, match="was altered"):
        make_predictor(path.parent)


def test_unsealed_folder_is_rejected(folder, tmp_path):
    (folder() / manifest.MANIFEST_NAME).unlink()
    with pytest.raises(UserError, match="it is incomplete"):
        make_predictor(tmp_path / "s")
    with pytest.raises(UserError, match="no folder"):
        make_predictor("nowhere")


def test_fingerprint_depends_on_the_bytes(folder):
    model_folder = folder()
    first = make_predictor(model_folder).fingerprint()
    assert first == make_predictor(model_folder).fingerprint()
    assert first["revision"] == manifest.sha256(model_folder / manifest.MANIFEST_NAME)
    assert make_predictor(model_folder, explanations=False).fingerprint() != first
    assert make_predictor(folder()).fingerprint() != first


@pytest.mark.parametrize(("key", "value"), [("device", "cuda"), ("dtype", "bfloat16")])
def test_unsupported_device_or_precision_is_rejected(folder, key, value):
    with pytest.raises(UserError, match=f"not {'on' if key == 'device' else 'in'} {value}"):
        make_predictor(folder(), backend={key: value})
