"""Feature tensors are loaded only from below the root, and only if complete and finite."""

import re

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import save_file  # noqa: E402

from gen_msa.models.inputs import modalities as modalities_module  # noqa: E402
from gen_msa.models.inputs.modalities import load_modalities  # noqa: E402
from gen_msa.types import Media, Post  # noqa: E402

AUDIO = torch.arange(6.0).reshape(3, 2)


def load_post_modalities(root, *media, names=("text", "audio", "context")):
    media_items = [Media(kind="features", path=path, key=key) for path, key in media]
    return load_modalities([Post(id="1", text="tea", media=tuple(media_items))], root, names)[0]


@pytest.fixture
def feature_folder(tmp_path):
    tensors = {"audio": AUDIO, "audio/7": AUDIO[:1].half(), "one": AUDIO[0], "video": AUDIO}
    invalid = {"nan": AUDIO / 0, "cube": AUDIO[None], "none": AUDIO[:0], "turn": AUDIO * 1j}
    tensors |= {f"audio/{k}": v for k, v in invalid.items()} | {"audio/flat": AUDIO[0]}
    save_file({k: v.clone() for k, v in tensors.items()}, tmp_path / "f.safetensors")
    return tmp_path


def test_modality_is_selected_by_media_key(feature_folder):
    modalities = load_post_modalities(
        feature_folder, ("f.safetensors", "video"), ("f.safetensors", "audio")
    )
    assert set(modalities.tensors) == {"audio"}
    assert torch.equal(modalities.tensors["audio"], AUDIO)
    assert not modalities.problems


def test_one_file_serves_many_posts_and_dtypes(feature_folder):
    modalities = load_post_modalities(feature_folder, ("f.safetensors", "audio/7")).tensors["audio"]
    assert (modalities.dtype, modalities.tolist()) == (torch.float32, AUDIO[:1].tolist())
    assert load_post_modalities(feature_folder, ("f.safetensors", "audio/flat")).tensors[
        "audio"
    ].shape == (1, 2)


def test_post_without_features_has_no_problem(feature_folder):
    for modalities in (
        load_post_modalities(feature_folder),
        load_post_modalities(feature_folder, ("f.safetensors", "audios"), ("f.safetensors", None)),
    ):
        assert not modalities.tensors
        assert not modalities.problems


@pytest.mark.parametrize(
    ("path", "key", "message"),
    [
        ("gone.safetensors", "audio", "no such file"),
        (".", "audio", "no such file"),
        ("../f.safetensors", "audio", r"the path holds '\.\.'"),
        ("/f.safetensors", "audio", "the path is absolute"),
        ("words.txt", "audio", "words.txt"),
        ("f.safetensors", "audio/8", "audio/8"),
        ("f.safetensors", "audio/nan", "not finite"),
        ("f.safetensors", "audio/turn", "not finite"),
        ("f.safetensors", "audio/cube", "1 x 3 x 2, not steps x width"),
        ("f.safetensors", "audio/none", "0 x 2, not steps x width"),
    ],
)
def test_unreadable_features_affect_only_their_post(feature_folder, path, key, message):
    (feature_folder / "words.txt").write_text("tea and cake")
    good_post = Post(
        id="2", text="", media=(Media(kind="features", path="f.safetensors", key="audio"),)
    )
    bad_post = Post(id="1", text="", media=(Media(kind="features", path=path, key=key),))
    bad_inputs, good_inputs = load_modalities([bad_post, good_post], feature_folder, ("audio",))
    assert not bad_inputs.tensors
    assert re.search(message, bad_inputs.problems["audio"])
    assert torch.equal(good_inputs.tensors["audio"], AUDIO)


def test_symlink_outside_the_root_is_rejected(feature_folder):
    (feature_folder / "in").mkdir()
    (feature_folder / "in" / "f.safetensors").symlink_to(feature_folder / "f.safetensors")
    assert (
        "link leads out"
        in load_post_modalities(feature_folder / "in", ("f.safetensors", "audio")).problems["audio"]
    )


def test_each_file_is_opened_once(feature_folder, monkeypatch):
    opened_paths, original_open = [], modalities_module.safe_open
    monkeypatch.setattr(
        modalities_module,
        "safe_open",
        lambda path, **k: opened_paths.append(path) or original_open(path, **k),
    )
    media = (Media(kind="features", path="f.safetensors", key="audio"),)
    load_modalities(
        [Post(id=str(i), text="", media=media) for i in range(5)], feature_folder, ("audio",)
    )
    assert len(opened_paths) == 1
