"""Erasure: does the prediction depend on the words that the model quotes as evidence?

ERASER (DeYoung et al., ACL 2020). Comprehensiveness = p(c|x) - p(c|x without the quoted words);
sufficiency = p(c|x) - p(c|the quoted words alone); c is the label predicted for the whole post x.
Any loss of words affects a model, so the same is done with as many other words in runs of the same
lengths: the mask of the quoted words is rotated around the text by a random step (`n_random` times,
mean). The difference, `..._gain`, is the metric to look at. Aspects stay in the text. Evidence is
not ordered, so there is no AOPC.

    options = {"erasure": {"n_random": 5}}
    run_probes(options, predictor, settings, examples, predictions, media_root)
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gen_msa.evaluation.probes._harness import (
    Perturbation,
    ProbeHarness,
    ProbeRow,
    Ratio,
    Trial,
    defined_differences,
    defined_mean,
    ratio_values,
)
from gen_msa.evaluation.probes.base import ProbeResult, probes
from gen_msa.metrics import MetricSpec, UndefinedMetric
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Post

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’-][^\W{_UNSPACED}]+)*|[^\w\s]")

CharSpan = tuple[int, int]


class WordEraser:
    """Removes words of a post and updates the offsets of its aspects."""

    def __init__(self, post: Post) -> None:
        self.post = post
        aspect_spans = [
            (a.start, a.end) for a in post.aspects if a.start is not None and a.end is not None
        ]
        self._protected = [s for s in aspect_spans if s[0] < s[1]]
        candidates = (m.span() for m in _WORD.finditer(post.text) if _is_word(m[0]))
        word_spans = list(candidates)
        self.spans: list[CharSpan] = [
            s for s in word_spans if not _overlaps_any(s, self._protected)
        ]
        """Start and end of each word that is not part of an aspect."""
        self._protected += [s for s in word_spans if _overlaps_any(s, self._protected)]

    def mask_for(self, spans: Iterable[CharSpan]) -> list[bool]:
        """Return for each word whether any of `spans` overlaps it."""
        spans = list(spans)
        return [_overlaps_any(word, spans) for word in self.spans]

    def masked_text(self, mask: Sequence[bool]) -> str:
        """Return the masked words, for the log."""
        selected = (s for s, m in zip(self.spans, mask, strict=True) if m)
        return " ".join(self.post.text[slice(*s)] for s in selected)

    def erase(self, mask: Sequence[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """Remove the masked words.

        Args:
            mask: One flag per word of `spans`.
            aspect: An aspect of the post.

        Returns:
            The changed post, and `aspect` as it stands there.
        """
        erased = [s for s, m in zip(self.spans, mask, strict=True) if m]
        keep_mask = [True] * len(self.post.text)
        for begin, end in erased:
            keep_mask[begin:end] = [False] * (end - begin)
        return self._apply(keep_mask, aspect)

    def keep(self, mask: Sequence[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """Keep only the masked words and the aspects.

        Args:
            mask: One flag per word of `spans`.
            aspect: An aspect of the post.

        Returns:
            The changed post, and `aspect` as it stands there.
        """
        selected_spans = [s for s, m in zip(self.spans, mask, strict=True) if m]
        keep_mask = [c.isspace() for c in self.post.text]
        for begin, end in [*selected_spans, *self._protected]:
            keep_mask[begin:end] = [True] * (end - begin)
        return self._apply(keep_mask, aspect)

    def _apply(self, keep_mask: list[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """Keep the flagged characters; collapse white space, and strip it at the ends."""
        text, protected = self.post.text, [False] * len(self.post.text)
        for begin, end in self._protected:
            protected[begin:end] = [True] * (end - begin)
        indices: list[int] = []
        for i, char in enumerate(text):
            is_space = char.isspace() and not protected[i]
            if keep_mask[i] and not (is_space and (not indices or text[indices[-1]].isspace())):
                indices.append(i)
        while indices and text[indices[-1]].isspace() and not protected[indices[-1]]:
            indices.pop()
        new_index = {old: new for new, old in enumerate(indices)}

        def shift_aspect(a: Aspect) -> Aspect:
            return a if a.start is None else a.model_copy(update={"start": new_index[a.start]})

        aspects = tuple(shift_aspect(a) if a.term else a for a in self.post.aspects)
        changed_text = "".join(text[i] for i in indices)
        post = {**dict(self.post), "text": changed_text, "aspects": aspects, "parse": None}
        return Post.model_validate(post), shift_aspect(aspect) if aspect.term else aspect


def _is_word(text: str) -> bool:
    if len(text) > 1 or text.isalnum():
        return True
    return text == "_" or (ord(text) > 0x7F and unicodedata.category(text) == "So")


def _overlaps_any(span: CharSpan, others: Iterable[CharSpan]) -> bool:
    return any(span[0] < end and begin < span[1] for begin, end in others)


class ErasureOptions(Settings):
    """How much is predicted."""

    n_random: int = Field(default=3, ge=1, le=100)
    """Random deletions per row; fewer where the text has fewer words."""


@probes.register
class Erasure:
    """Predict each post without its evidence, with evidence alone, and the same for other words."""

    Options: ClassVar[type[Settings]] = ErasureOptions
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec("comprehensiveness_gain", "comprehensiveness beyond other words'", "score"),
        MetricSpec("sufficiency_gain", "other words' sufficiency minus the evidence's", "score"),
        MetricSpec("comprehensiveness", "p(c|x) - p(c|x without evidence)", "score"),
        MetricSpec("comprehensiveness_random", "the same for as many other words", "score", ""),
        MetricSpec("sufficiency", "p(c|x) - p(c|evidence alone)", "score", "low"),
        MetricSpec("sufficiency_random", "the same for as many other words", "score", ""),
        MetricSpec("has_evidence", "labelled rows that quote words of the post"),
    )

    def __init__(self, options: ErasureOptions) -> None:
        self._n_random = options.n_random

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Run the probe.

        Raises:
            UndefinedMetric: The model gives no probabilities or no evidence.
        """
        with_probs = [r for r in harness.rows if r.prediction.probability is not None]
        if not with_probs:
            raise UndefinedMetric("the model gives no probabilities")
        masks = {id(r): _evidence_mask(r) for r in with_probs}
        with_evidence = [r for r in with_probs if any(masks[id(r)])]
        if not with_evidence:
            raise UndefinedMetric("the model quotes no word of any post besides the aspect")
        rows = harness.sample_rows([r for r in with_evidence if not all(masks[id(r)])])
        if not rows:
            raise UndefinedMetric(
                "in every post with evidence, the evidence is the whole text besides the aspect"
            )
        perturbations = [
            list(_perturbations(r, masks[id(r)], self._n_random, harness)) for r in rows
        ]
        trials = iter(harness.predict([c for group in perturbations for c in group]))
        trials_by_row = [[next(trials) for _ in group] for group in perturbations]
        n_without = len(with_probs) - len(with_evidence)
        note = f"{n_without} of {len(with_probs)} rows quote no word besides the aspect"
        ratios = {k: Ratio(v, note=note, signed=True) for k, v in _columns(trials_by_row).items()}
        metrics = ratio_values(ratios, [r.cluster for r in rows], harness)
        has_evidence = Ratio([float(any(masks[id(r)])) for r in with_probs])
        metrics |= ratio_values(
            {"has_evidence": has_evidence}, [r.cluster for r in with_probs], harness
        )
        ordered_metrics = {f.name: metrics[f.name] for f in self.specs}
        return ProbeResult(ordered_metrics, tuple(t for group in trials_by_row for t in group))


def _evidence_mask(row: ProbeRow) -> list[bool]:
    spans = [
        (e.start, e.start + len(e.quote))
        for e in row.prediction.evidence
        if e.source == "text" and e.start is not None
    ]
    return WordEraser(row.post).mask_for(spans) if spans else []


def _perturbations(
    row: ProbeRow, mask: list[bool], n_random: int, harness: ProbeHarness
) -> Iterator[Perturbation]:
    """Yield the post with the evidence erased and kept, then the same with rotated masks."""
    eraser = WordEraser(row.post)
    steps = list(range(1, len(mask)))
    harness.rng("erasure", row.post.id, row.aspect).shuffle(steps)
    shifted = [mask[-step:] + mask[:-step] for step in steps]
    random_masks = [m for m in shifted if m != mask][:n_random]
    for suffix, m in [("", mask), *(("_random", o) for o in random_masks)]:
        for name, perturb in (("erased", eraser.erase), ("kept", eraser.keep)):
            post, aspect = perturb(m, row.aspect)
            yield Perturbation(row, name + suffix, post, aspect, eraser.masked_text(m))


def _columns(trials_by_row: list[list[Trial]]) -> dict[str, list[float | None]]:
    drops = {
        name: [
            defined_mean([t.probability_drop for t in row_trials if t.variant == name])
            for row_trials in trials_by_row
        ]
        for name in ("erased", "kept", "erased_random", "kept_random")
    }
    return {
        "comprehensiveness": drops["erased"],
        "comprehensiveness_random": drops["erased_random"],
        "comprehensiveness_gain": defined_differences(drops["erased"], drops["erased_random"]),
        "sufficiency": drops["kept"],
        "sufficiency_random": drops["kept_random"],
        "sufficiency_gain": defined_differences(drops["kept_random"], drops["kept"]),
    }
