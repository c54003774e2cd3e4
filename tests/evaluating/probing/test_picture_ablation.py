"""Picture ablation: a reader of pictures flips without them, a reader of text never does."""

import pytest

from gen_msa import media
from gen_msa.media import PictureLimits, PictureProblem
from gen_msa.readers import ReaderSettings, make
from gen_msa.types import Aspect, Media
from tests.evaluating.probing.doubles import NEG, NEU, POS, Double, by_word, gold, run, sentence
from tests.fixtures.posts import write_picture

COLOURS = {"red": NEG, "lime": POS}


@pytest.fixture
def root(tmp_path):
    for i in range(20):
        write_picture(tmp_path / f"{i}.png", "lime" if i % 2 else "red", (32 + i % 3, 24))
    return tmp_path


def examples(n=20):
    """Pictures tell gold; the text says the same by one word, of every other post."""
    made = []
    for i in range(n):
        word = ("dreadful", "splendid")[i % 2]
        post = sentence(i, word, media=(Media(kind="image", path=f"{i}.png"),))
        meta = {"caption": word, "language": "en"}
        made.append(gold(post.model_copy(update={"meta": meta}), (NEG, POS)[i % 2]))
    return made


def by_picture(root):
    """Reads the colour of the first pixel, through the door every picture comes in by."""

    def rule(post, aspect):
        if not post.media:
            return NEU
        picture = media.load(media.admit(post.media[0], root, PictureLimits()))
        red, green, _ = picture.getpixel((0, 0))
        return NEG if red > 200 else POS if green > 200 else NEU

    return rule


def test_a_reader_of_pictures_loses_all_without_them(root):
    found = run("picture_ablation", Double(by_picture(root)), examples(), root=root).figures
    for variant in ("none", "grey", "swapped"):
        assert found[f"{variant}_flip_rate"].value == 1
        assert found[f"{variant}_accuracy_drop"].value == 1
        assert found[f"{variant}_dp"].value == pytest.approx(0.97)
    assert found["shortcut_index"].value == 0
    assert found["none_flip_rate"].n == 20


def test_a_reader_of_text_never_flips_and_has_a_shortcut(root):
    found = run("picture_ablation", Double(by_word), examples(), root=root).figures
    for variant in ("none", "grey", "swapped"):
        assert found[f"{variant}_flip_rate"].value == 0
        assert found[f"{variant}_accuracy_drop"].value == found[f"{variant}_dp"].value == 0
    assert found["shortcut_index"].value == 1
    assert found["shortcut_index"].low == found["shortcut_index"].high == 1


def test_a_reader_of_captions_flips_when_what_is_said_of_the_picture_follows_it(root):
    def by_caption(post, aspect):
        return {"dreadful": NEG, "splendid": POS}.get(post.meta.get("caption"), NEU)

    reader = Double(by_caption)
    assert run("picture_ablation", reader, examples(), root=root).figures["none_dp"].value > 0.9
    assert {p.meta["language"] for p in reader.asked} == {"en"}
    stays = {"facts": []}
    found = run("picture_ablation", reader, examples(), root=root, options=stays).figures
    assert found["swapped_flip_rate"].value == 0


def test_a_swapped_picture_is_of_another_gold(root):
    probed = run("picture_ablation", Double(by_word), examples(), root=root, limit=6)
    told = [(t.post, t.told) for t in probed.trials if t.variant == "swapped"]
    assert len(told) == 6
    assert all(int(post[1:]) % 2 != int(path.removesuffix(".png")) % 2 for post, path in told)


def test_grey_pictures_are_as_large_and_are_cleared_away(root):
    reader = Double(by_word)
    run("picture_ablation", reader, examples(3), root=root, options={"variants": ["grey"]})
    assert [p.media[0].path[:15] for p in reader.asked] == ["data:image/png;"] * 3
    seen = [media.load(media.admit(p.media[0], root, PictureLimits())) for p in reader.asked]
    assert [i.size for i in seen] == [(32, 24), (33, 24), (34, 24)]
    assert {i.getpixel((5, 5)) for i in seen} == {(128, 128, 128)}
    stored = set((root / ".fetched").iterdir())
    run("picture_ablation", Double(by_picture(root)), examples(3), root=root)
    assert set((root / ".fetched").iterdir()) == stored  # those were there before
    for path in stored:
        path.unlink()
    (root / ".fetched").rmdir()
    run("picture_ablation", Double(by_picture(root)), examples(3), root=root)
    assert not (root / ".fetched").exists()


def test_a_post_is_read_once_for_all_its_aspects(root):
    both = [
        gold(e.post.model_copy(update={"aspects": (*e.post.aspects, Aspect(term="tea"))}), NEG, POS)
        for e in examples()
    ]
    reader = Double(by_word)
    probed = run("picture_ablation", reader, both, root=root, options={"variants": ["none"]})
    assert len(reader.asked) == 20
    assert probed.figures["none_flip_rate"].n == 40


def test_a_variant_that_is_not_asked_for_says_so(root):
    options = {"variants": ["swapped"]}
    found = run("picture_ablation", Double(by_word), examples(), root=root, options=options).figures
    assert found["swapped_flip_rate"].n == 20
    assert "not among the variants" in found["grey_dp"].note
    assert "`none` was not asked for" in found["shortcut_index"].note


def test_without_any_other_gold_no_picture_is_swapped(root):
    same = [e for e in examples() if e.opinions[0].polarity is NEG]
    found = run("picture_ablation", Double(by_word), same, root=root).figures
    assert found["swapped_flip_rate"].value is None
    assert "10 of 10 rows: no other post fits" in found["swapped_flip_rate"].note
    assert found["none_flip_rate"].n == 10


def test_posts_without_pictures_are_not_applicable(root):
    bare = [gold(sentence(1, "odd"), NEG)]
    found = run("picture_ablation", Double(by_word), bare, root=root).figures
    assert "no post has a picture" in found["shortcut_index"].note


def test_broken_pictures_are_left_out_and_counted(root):
    (root / "3.png").write_bytes(b"not a picture")
    settings = ReaderSettings(reader="echo", cues={})
    reader = make(settings, root)
    found = run("picture_ablation", reader, examples(), root=root, settings=settings).figures
    assert found["none_flip_rate"].n == 19
    assert "1 rows left out" in found["none_flip_rate"].note
    assert found["none_flip_rate"].value > 0.3  # echo answers by a hash of all it sees
    with pytest.raises(PictureProblem):
        media.admit(Media(kind="image", path="3.png"), root, PictureLimits())


def test_a_reader_that_is_shown_no_pictures_does_not_flip_and_says_so(root):
    settings = ReaderSettings(reader="echo", cues={}, pictures=False)
    reader = make(settings, root)
    found = run("picture_ablation", reader, examples(), root=root, settings=settings).figures
    assert found["swapped_flip_rate"].value == 0
    assert "20 of 20 rows: the reader is shown no picture" in found["swapped_flip_rate"].note
