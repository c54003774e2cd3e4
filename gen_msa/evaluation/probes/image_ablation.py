"""Image ablation: what changes without the image, with a grey one, or with that of another post?

Each post with an image is predicted without it (`none`), with a grey image of its size (`grey`),
and with the image of a post with another gold label (`swapped`). Values in `meta` about the image
(`meta_keys`: caption, objects, writing) are removed and replaced with it, or the model would still
get the image in words. Caption files are looked up by the path of the image, so they follow.

`shortcut_index` = accuracy without images / accuracy with images: near 1, the text is enough.

    run_probes(["image_ablation"], predictor, settings, examples, predictions, media_root)
"""

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, Self

from gen_msa import media
from gen_msa.evaluation.probes._harness import (
    Perturbation,
    ProbeHarness,
    ProbeRow,
    Ratio,
    Trial,
    ratio_values,
)
from gen_msa.evaluation.probes.base import ProbeResult, probes
from gen_msa.media import ImageLimits
from gen_msa.metrics import MetricSpec, UndefinedMetric
from gen_msa.settings import Settings
from gen_msa.types import Media, Post

_GREY = (128, 128, 128)
_FETCHED_DIR = ".fetched"


class GreyImages:
    """Makes grey images, and removes their files at the end.

    Args:
        root: The media root.
        limits: The limits that images are loaded with.
    """

    def __init__(self, root: Path, limits: ImageLimits) -> None:
        self._root = root
        self._limits = limits
        self._new: set[Path] = set()
        self._had_store = (root / _FETCHED_DIR).exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for path in self._new:
            path.unlink(missing_ok=True)
        store = self._root / _FETCHED_DIR
        if not self._had_store and store.is_dir() and not any(store.iterdir()):
            store.rmdir()

    def grey_version(self, image: Media) -> Media:
        """Return a grey image of the size that `image` is loaded at. Raises `ImageError`."""
        from PIL import Image

        size = media.load_image(media.open_image(image, self._root, self._limits)).size
        out = io.BytesIO()
        Image.new("RGB", size, _GREY).save(out, "PNG")
        url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
        stored = self._root / _FETCHED_DIR / hashlib.sha256(url.encode()).hexdigest()
        if not stored.exists():
            self._new.add(stored)
        return Media(kind="image", path=url)


Variant = Literal["none", "grey", "swapped"]

_VARIANT_DESCRIPTIONS: dict[Variant, str] = {
    "none": "without the image",
    "grey": "with a grey image",
    "swapped": "with another post's image",
}


class ImageAblationOptions(Settings):
    """What replaces the image."""

    variants: tuple[Variant, ...] = ("none", "grey", "swapped")
    meta_keys: tuple[str, ...] = ("caption", "objects", "ocr")
    """Keys of `Post.meta` that are about the image and are moved with it."""


def _specs() -> Iterator[MetricSpec]:
    yield MetricSpec(
        "shortcut_index", "accuracy without images / accuracy with images", "score", ""
    )
    for variant, about in _VARIANT_DESCRIPTIONS.items():
        yield MetricSpec(
            f"{variant}_accuracy_drop", f"accuracy minus accuracy {about}", "share", ""
        )
        yield MetricSpec(f"{variant}_flip_rate", f"labels that change {about}", "share", "")
        yield MetricSpec(f"{variant}_dp", f"p(c|x) - p(c|x {about})", "score", "")


@probes.register
class ImageAblation:
    """Predict posts with something else in place of their image."""

    Options: ClassVar[type[Settings]] = ImageAblationOptions
    specs: ClassVar[tuple[MetricSpec, ...]] = tuple(_specs())

    def __init__(self, options: ImageAblationOptions) -> None:
        self._options = options

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Run the probe.

        Raises:
            UndefinedMetric: No post was predicted with an image.
        """
        with_images = [r for r in harness.rows if _images(r.post)]
        if not with_images:
            raise UndefinedMetric("no post has an image")
        opened = [r for r in with_images if _was_opened(r)]
        if not opened:
            reason = with_images[0].prediction.provenance["image"]
            raise UndefinedMetric(f"no image could be opened; the first: {reason}")
        rows = harness.sample_rows(opened)
        n_unopened = len(with_images) - len(opened)
        n_unseen = sum("image" in r.prediction.provenance for r in rows)
        notes = [f"{n_unopened} rows left out: their image could not be opened"] * bool(n_unopened)
        notes += [f"{n_unseen} of {len(rows)} rows: the model is shown no image"] * bool(n_unseen)
        with GreyImages(harness.media_root, harness.settings.image) as grey_images:
            trials_by_variant = {
                v: self._run_variant(harness, v, rows, opened, grey_images)
                for v in self._options.variants
            }
        metrics = ratio_values(
            _ratios(trials_by_variant, rows, notes), [r.cluster for r in rows], harness
        )
        return ProbeResult(
            metrics, tuple(t for trials in trials_by_variant.values() for t in trials if t)
        )

    def _run_variant(
        self,
        harness: ProbeHarness,
        variant: Variant,
        rows: list[ProbeRow],
        opened: list[ProbeRow],
        grey_images: GreyImages,
    ) -> list[Trial | None]:
        """Predict each row's changed post; None where no other post fits."""
        donors = _donors(rows, opened, harness) if variant == "swapped" else {}
        perturbations: list[Perturbation | None] = []
        for row in rows:
            post, description = self._without_image(row.post), "no image"
            if variant == "grey":
                grey_media = tuple(grey_images.grey_version(m) for m in _images(row.post))
                post, description = (
                    post.model_copy(update={"media": (*post.media, *grey_media)}),
                    "grey",
                )
            elif variant == "swapped":
                donor = donors[row.post.id]
                if donor is None:
                    perturbations.append(None)
                    continue
                post, description = self._with_image(post, donor), _images(donor)[0].path
            perturbations.append(Perturbation(row, variant, post, row.aspect, description))
        trials = iter(harness.predict([c for c in perturbations if c]))
        return [next(trials) if c else None for c in perturbations]

    def _without_image(self, post: Post) -> Post:
        media = tuple(m for m in post.media if m.kind != "image")
        meta = {k: v for k, v in post.meta.items() if k not in self._options.meta_keys}
        return post.model_copy(update={"media": media, "meta": meta})

    def _with_image(self, post: Post, donor: Post) -> Post:
        donor_meta = {k: v for k, v in donor.meta.items() if k in self._options.meta_keys}
        media = (*post.media, *_images(donor))
        return post.model_copy(update={"media": media, "meta": {**post.meta, **donor_meta}})


def _images(post: Post) -> list[Media]:
    return [m for m in post.media if m.kind == "image"]


def _was_opened(row: ProbeRow) -> bool:
    """Return whether the image was opened; one that is withheld from a text model was."""
    return row.prediction.provenance.get("image", "not shown").startswith("not shown")


def _donors(
    rows: list[ProbeRow], opened: list[ProbeRow], harness: ProbeHarness
) -> dict[str, Post | None]:
    """Find for each post another with a different image and no gold label in common, or None."""
    labels: dict[str, set[str]] = {}
    posts: dict[str, Post] = {}
    for row in opened:
        labels.setdefault(row.post.id, set()).add(row.gold_label or row.predicted_label)
        posts[row.post.id] = row.post
    donors: dict[str, Post | None] = {}
    for post in {r.post.id: r.post for r in rows}.values():
        image_paths = {m.path for m in _images(post)}
        others = [
            p
            for i, p in posts.items()
            if not labels[i] & labels[post.id]
            and image_paths.isdisjoint(m.path for m in _images(p))
        ]
        donors[post.id] = harness.rng("picture", post.id).choice(others) if others else None
    return donors


def _ratios(
    trials_by_variant: dict[Variant, list[Trial | None]], rows: list[ProbeRow], notes: Sequence[str]
) -> dict[str, Ratio]:
    ratios = {"shortcut_index": _shortcut_ratio(trials_by_variant.get("none"), rows, notes)}
    for variant in _VARIANT_DESCRIPTIONS:
        trials = trials_by_variant.get(variant, [None] * len(rows))
        n_unreadable = sum(t is None or bool(t.note) for t in trials)
        reason = "no other post fits, or it could not be predicted"
        variant_notes = (
            [f"{n_unreadable} of {len(rows)} rows: {reason}"] * bool(n_unreadable)
            if variant in trials_by_variant
            else []
        )
        variant_notes += ["not among the variants"] * (variant not in trials_by_variant)
        columns = {
            "accuracy_drop": [t.accuracy_drop if t else None for t in trials],
            "flip_rate": [t.flipped if t else None for t in trials],
            "dp": [t.probability_drop if t else None for t in trials],
        }
        note = "; ".join([*notes, *variant_notes])
        ratios |= {
            f"{variant}_{k}": Ratio(v, note=note, signed=k != "flip_rate")
            for k, v in columns.items()
        }
    return ratios


def _shortcut_ratio(
    trials: list[Trial | None] | None, rows: list[ProbeRow], notes: Sequence[str]
) -> Ratio:
    if trials is None:
        return Ratio([None] * len(rows), note="the variant `none` was not requested")
    correct_without_images = [
        float(t.after is t.gold) if t and t.accuracy_drop is not None else None for t in trials
    ]
    correct_with_images = [float(r.predicted_label is r.gold_label) for r in rows]
    return Ratio(correct_without_images, correct_with_images, "; ".join(notes))
