"""Features of posts: read from below the root alone, whole and finite or not at all."""

import re

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import save_file  # noqa: E402

from gen_msa.students.common import inputs as features  # noqa: E402
from gen_msa.students.common.inputs import inputs  # noqa: E402
from gen_msa.types import Media, Post  # noqa: E402

SOUND = torch.arange(6.0).reshape(3, 2)


def heard(root, *media, names=("text", "audio", "context")):
    given = [Media(kind="features", path=path, key=key) for path, key in media]
    return inputs([Post(id="1", text="tea", media=tuple(given))], root, names)[0]


@pytest.fixture
def file(tmp_path):
    tensors = {"audio": SOUND, "audio/7": SOUND[:1].half(), "one": SOUND[0], "video": SOUND}
    bad = {"nan": SOUND / 0, "cube": SOUND[None], "none": SOUND[:0], "turn": SOUND * 1j}
    tensors |= {f"audio/{k}": v for k, v in bad.items()} | {"audio/flat": SOUND[0]}
    save_file({k: v.clone() for k, v in tensors.items()}, tmp_path / "f.safetensors")
    return tmp_path


def test_a_modality_is_the_media_of_its_key(file):
    found = heard(file, ("f.safetensors", "video"), ("f.safetensors", "audio"))
    assert set(found.tensors) == {"audio"}
    assert torch.equal(found.tensors["audio"], SOUND)
    assert not found.problems


def test_one_file_may_have_those_of_many_posts_of_any_kind_of_number(file):
    found = heard(file, ("f.safetensors", "audio/7")).tensors["audio"]
    assert (found.dtype, found.tolist()) == (torch.float32, SOUND[:1].tolist())
    assert heard(file, ("f.safetensors", "audio/flat")).tensors["audio"].shape == (1, 2)


def test_a_post_without_them_is_no_problem(file):
    for found in (heard(file), heard(file, ("f.safetensors", "audios"), ("f.safetensors", None))):
        assert not found.tensors
        assert not found.problems


@pytest.mark.parametrize(
    ("path", "key", "why"),
    [
        ("gone.safetensors", "audio", "no such file"),
        (".", "audio", "no such file"),
        ("../f.safetensors", "audio", r"the path holds '\.\.'"),
        ("/f.safetensors", "audio", "the path is absolute"),
        ("words.txt", "audio", "words.txt"),
        ("f.safetensors", "audio/8", "audio/8"),
        ("f.safetensors", "audio/nan", "no finite number"),
        ("f.safetensors", "audio/turn", "no finite number"),
        ("f.safetensors", "audio/cube", "1 x 3 x 2, not steps x width"),
        ("f.safetensors", "audio/none", "0 x 2, not steps x width"),
    ],
)
def test_what_cannot_be_read_is_a_problem_of_its_post_alone(file, path, key, why):
    (file / "words.txt").write_text("tea and cake")
    good = Post(id="2", text="", media=(Media(kind="features", path="f.safetensors", key="audio"),))
    bad = Post(id="1", text="", media=(Media(kind="features", path=path, key=key),))
    first, second = inputs([bad, good], file, ("audio",))
    assert not first.tensors
    assert re.search(why, first.problems["audio"])
    assert torch.equal(second.tensors["audio"], SOUND)


def test_a_link_that_leads_out_is_not_followed(file):
    (file / "in").mkdir()
    (file / "in" / "f.safetensors").symlink_to(file / "f.safetensors")
    assert "link leads out" in heard(file / "in", ("f.safetensors", "audio")).problems["audio"]


def test_every_file_is_opened_once(file, monkeypatch):
    opened, real = [], features.safe_open
    monkeypatch.setattr(
        features, "safe_open", lambda path, **k: opened.append(path) or real(path, **k)
    )
    media = (Media(kind="features", path="f.safetensors", key="audio"),)
    inputs([Post(id=str(i), text="", media=media) for i in range(5)], file, ("audio",))
    assert len(opened) == 1
