"""Image ablation: an image-based model flips without images, a text-based model never does."""

import pytest

from gen_msa import media
from gen_msa.media import ImageError, ImageLimits
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import Aspect, Media
from tests.evaluation.probes.fake_predictors import (
    NEG,
    NEU,
    POS,
    FakePredictor,
    kettle_post,
    polarity_by_word,
    run_probe,
    with_gold,
)
from tests.fixtures.posts import write_image

COLOURS = {"red": NEG, "lime": POS}


@pytest.fixture
def media_root(tmp_path):
    for i in range(20):
        write_image(tmp_path / f"{i}.png", "lime" if i % 2 else "red", (32 + i % 3, 24))
    return tmp_path


def image_examples(n=20):
    """Return `n` posts whose gold label follows from the image and, equally, from one word."""
    gold_examples = []
    for i in range(n):
        word = ("dreadful", "splendid")[i % 2]
        post = kettle_post(i, word, media=(Media(kind="image", path=f"{i}.png"),))
        meta = {"caption": word, "language": "en"}
        gold_examples.append(with_gold(post.model_copy(update={"meta": meta}), (NEG, POS)[i % 2]))
    return gold_examples


def polarity_by_image(media_root):
    """Return a rule that predicts from the colour of the first pixel, loaded through `media`."""

    def rule(post, aspect):
        if not post.media:
            return NEU
        image = media.load_image(media.open_image(post.media[0], media_root, ImageLimits()))
        red, green, _ = image.getpixel((0, 0))
        return NEG if red > 200 else POS if green > 200 else NEU

    return rule


def test_image_based_predictor_always_flips(media_root):
    metrics = run_probe(
        "image_ablation",
        FakePredictor(polarity_by_image(media_root)),
        image_examples(),
        root=media_root,
    ).metrics
    for variant in ("none", "grey", "swapped"):
        assert metrics[f"{variant}_flip_rate"].value == 1
        assert metrics[f"{variant}_accuracy_drop"].value == 1
        assert metrics[f"{variant}_dp"].value == pytest.approx(0.97)
    assert metrics["shortcut_index"].value == 0
    assert metrics["none_flip_rate"].n == 20


def test_text_based_predictor_never_flips_and_has_full_shortcut(media_root):
    metrics = run_probe(
        "image_ablation", FakePredictor(polarity_by_word), image_examples(), root=media_root
    ).metrics
    for variant in ("none", "grey", "swapped"):
        assert metrics[f"{variant}_flip_rate"].value == 0
        assert metrics[f"{variant}_accuracy_drop"].value == metrics[f"{variant}_dp"].value == 0
    assert metrics["shortcut_index"].value == 1
    assert metrics["shortcut_index"].low is None
    assert "the same in every cluster" in metrics["shortcut_index"].note


def test_image_ablation_swaps_captions_with_the_image(media_root):
    def by_caption(post, aspect):
        return {"dreadful": NEG, "splendid": POS}.get(post.meta.get("caption"), NEU)

    predictor = FakePredictor(by_caption)
    assert (
        run_probe("image_ablation", predictor, image_examples(), root=media_root)
        .metrics["none_dp"]
        .value
        > 0.9
    )
    assert {p.meta["language"] for p in predictor.received_posts} == {"en"}
    options = {"meta_keys": []}
    metrics = run_probe(
        "image_ablation", predictor, image_examples(), root=media_root, options=options
    ).metrics
    assert metrics["swapped_flip_rate"].value == 0


def test_swapped_image_has_another_gold_label(media_root):
    result = run_probe(
        "image_ablation",
        FakePredictor(polarity_by_word),
        image_examples(),
        root=media_root,
        limit=6,
    )
    swapped = [(t.post, t.description) for t in result.trials if t.variant == "swapped"]
    assert len(swapped) == 6
    assert all(int(post[1:]) % 2 != int(path.removesuffix(".png")) % 2 for post, path in swapped)


def test_grey_images_keep_size_and_are_cleaned_up(media_root):
    predictor = FakePredictor(polarity_by_word)
    run_probe(
        "image_ablation",
        predictor,
        image_examples(3),
        root=media_root,
        options={"variants": ["grey"]},
    )
    assert [p.media[0].path[:15] for p in predictor.received_posts] == ["data:image/png;"] * 3
    grey_images = [
        media.load_image(media.open_image(p.media[0], media_root, ImageLimits()))
        for p in predictor.received_posts
    ]
    assert [i.size for i in grey_images] == [(32, 24), (33, 24), (34, 24)]
    assert {i.getpixel((5, 5)) for i in grey_images} == {(128, 128, 128)}
    stored = set((media_root / ".fetched").iterdir())
    run_probe(
        "image_ablation",
        FakePredictor(polarity_by_image(media_root)),
        image_examples(3),
        root=media_root,
    )
    assert set((media_root / ".fetched").iterdir()) == stored  # those were there before
    for path in stored:
        path.unlink()
    (media_root / ".fetched").rmdir()
    run_probe(
        "image_ablation",
        FakePredictor(polarity_by_image(media_root)),
        image_examples(3),
        root=media_root,
    )
    assert not (media_root / ".fetched").exists()


def test_image_ablation_predicts_each_post_once(media_root):
    two_aspect_posts = [
        with_gold(
            e.post.model_copy(update={"aspects": (*e.post.aspects, Aspect(term="tea"))}), NEG, POS
        )
        for e in image_examples()
    ]
    predictor = FakePredictor(polarity_by_word)
    result = run_probe(
        "image_ablation",
        predictor,
        two_aspect_posts,
        root=media_root,
        options={"variants": ["none"]},
    )
    assert len(predictor.received_posts) == 20
    assert result.metrics["none_flip_rate"].n == 40


def test_image_ablation_notes_variants_not_requested(media_root):
    options = {"variants": ["swapped"]}
    metrics = run_probe(
        "image_ablation",
        FakePredictor(polarity_by_word),
        image_examples(),
        root=media_root,
        options=options,
    ).metrics
    assert metrics["swapped_flip_rate"].n == 20
    assert "not among the variants" in metrics["grey_dp"].note
    assert "`none` was not requested" in metrics["shortcut_index"].note


def test_image_ablation_needs_another_gold_label_to_swap(media_root):
    negative_examples = [e for e in image_examples() if e.opinions[0].polarity is NEG]
    metrics = run_probe(
        "image_ablation", FakePredictor(polarity_by_word), negative_examples, root=media_root
    ).metrics
    assert metrics["swapped_flip_rate"].value is None
    assert "10 of 10 rows: no other post fits" in metrics["swapped_flip_rate"].note
    assert metrics["none_flip_rate"].n == 10


def test_image_ablation_is_not_applicable_without_images(media_root):
    text_only = [with_gold(kettle_post(1, "odd"), NEG)]
    metrics = run_probe(
        "image_ablation", FakePredictor(polarity_by_word), text_only, root=media_root
    ).metrics
    assert "no post has an image" in metrics["shortcut_index"].note


def test_image_ablation_counts_broken_images(media_root):
    (media_root / "3.png").write_bytes(b"not an image")
    settings = PredictorSettings(model="echo", cues={})
    predictor = make(settings, media_root)
    metrics = run_probe(
        "image_ablation", predictor, image_examples(), root=media_root, settings=settings
    ).metrics
    assert metrics["none_flip_rate"].n == 19
    assert "1 rows left out" in metrics["none_flip_rate"].note
    assert metrics["none_flip_rate"].value > 0.3  # echo answers by a hash of all it sees
    with pytest.raises(ImageError):
        media.open_image(Media(kind="image", path="3.png"), media_root, ImageLimits())


def test_image_ablation_notes_predictor_without_images(media_root):
    settings = PredictorSettings(model="echo", cues={}, images=False)
    predictor = make(settings, media_root)
    metrics = run_probe(
        "image_ablation", predictor, image_examples(), root=media_root, settings=settings
    ).metrics
    assert metrics["swapped_flip_rate"].value == 0
    assert "20 of 20 rows: the model is shown no image" in metrics["swapped_flip_rate"].note
