"""Aspect swap: does the prediction follow the aspect itself, and not its name?

Two questions. First, another aspect of the same post with opposite gold: does the label change to
the gold of that aspect? The model has predicted both already, so this needs no prediction. Second,
the aspect gets an invented name, in the text and in the question: a label that flips depended on
the name.

A model that ignores aspects is correct about one of two opposites at best: its
`directional_accuracy` is at most 1/2, and its `followed` and `pull` are 0.

    options = {"aspect_swap": {"contrast": "different"}}
    run_probes(options, predictor, settings, examples, predictions, media_root)
"""

import random
import re
from collections import defaultdict
from typing import ClassVar, Literal

from gen_msa.evaluation.probes._harness import (
    Perturbation,
    ProbeHarness,
    ProbeRow,
    Ratio,
    Trial,
    ratio_values,
)
from gen_msa.evaluation.probes.base import ProbeResult, probes
from gen_msa.metrics import MetricSpec, UndefinedMetric
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Polarity, Post

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_MAX_LETTERS = 10
"""Maximum length of an invented word."""


def invent_name(term: str, rng: random.Random) -> str:
    """Invent a name that looks like `term`.

    Args:
        term: The name to replace.
        rng: Source of the letters.

    Returns:
        A name with the same digits, punctuation and capitalization, and invented words.
    """
    return re.sub(r"[^\W\d_]+", lambda m: _invent_word(m[0], rng), term)


def rename_aspect(post: Post, aspect: Aspect, rng: random.Random) -> tuple[Post, Aspect] | None:
    """Rename each mention of an aspect in a post.

    Mentions within other words or other aspects stay. The dependency parse is dropped.

    Args:
        post: The post.
        aspect: The aspect.
        rng: Source of the invented name.

    Returns:
        The changed post and aspect; None when the aspect does not occur in the text, has no letter,
            or overlaps another aspect.
    """
    rivals = [
        (a.start, a.start + len(a.term))
        for a in post.aspects
        if a.start is not None and a != aspect
    ]
    name = invent_name(aspect.term, rng)
    if aspect.start is None or name == aspect.term or _overlaps_any(aspect.start, aspect, rivals):
        return None
    matches = re.finditer(rf"(?<!\w){re.escape(aspect.term)}(?!\w)", post.text)
    starts = sorted({aspect.start, *(m.start() for m in matches)})
    starts = [s for s in starts if not _overlaps_any(s, aspect, rivals)]
    text, length_change, end = "", len(name) - len(aspect.term), 0
    for start in starts:
        text += post.text[end:start] + name
        end = start + len(aspect.term)
    text += post.text[end:]

    def shift_aspect(a: Aspect) -> Aspect:
        if a.start is None:
            return a
        start = a.start + length_change * sum(s < a.start for s in starts)
        return Aspect(term=name if a == aspect else a.term, start=start)

    aspects = tuple(dict.fromkeys(shift_aspect(a) for a in post.aspects))
    changed_post = Post.model_validate(
        {**dict(post), "text": text, "aspects": aspects, "parse": None}
    )
    return changed_post, shift_aspect(aspect)


def _overlaps_any(start: int, aspect: Aspect, spans: list[tuple[int, int]]) -> bool:
    end = start + len(aspect.term)
    return any(start < e and b < end for b, e in spans)


def _invent_word(word: str, rng: random.Random) -> str:
    length = min(max(len(word), 3), _MAX_LETTERS)
    letters = "".join(rng.choice(_VOWELS if i % 2 else _CONSONANTS) for i in range(length))
    if word.isupper() and len(word) > 1:
        return letters.upper()
    return letters.capitalize() if word[0].isupper() else letters


class AspectSwapOptions(Settings):
    """Which aspects are paired."""

    contrast: Literal["opposite", "different"] = "opposite"
    """`opposite`: one positive, one negative. `different`: any two different labels."""


@probes.register
class AspectSwap:
    """Compare predictions about two aspects, and predict posts whose aspect was renamed."""

    Options: ClassVar[type[Settings]] = AspectSwapOptions
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec(
            "directional_accuracy", "answers about the other aspect that match its gold label"
        ),
        MetricSpec("followed", "both aspects right: the label followed the aspect"),
        MetricSpec(
            "pull",
            "p(gold of the other aspect) when asked about it minus when asked about this one",
            "score",
        ),
        MetricSpec("rename_flip_rate", "labels that change under an invented name", "share", "low"),
        MetricSpec("rename_dp", "p(c|x) - p(c|renamed)", "score", ""),
        MetricSpec("rename_accuracy_drop", "accuracy minus accuracy after renaming", "share", ""),
    )

    def __init__(self, options: AspectSwapOptions) -> None:
        self._contrast = options.contrast

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Run the probe.

        Raises:
            UndefinedMetric: No aspect has a contrasting aspect, and none occurs in its text.
        """
        pairs = self._pairs(harness)
        swap_trials = [_swap_trial(a, b) for a, b in pairs]
        perturbations = _rename_perturbations(harness)
        if not pairs and not perturbations:
            raise UndefinedMetric("no post has an aspect that occurs in its text, or two aspects")
        rename_trials = harness.predict(perturbations)
        columns: dict[str, list[float | None]] = {
            "directional_accuracy": [float(b.predicted_label is b.gold_label) for _, b in pairs],
            "followed": [
                float(a.predicted_label is a.gold_label and b.predicted_label is b.gold_label)
                for a, b in pairs
            ],
            "pull": [_probability_pull(a, b) for a, b in pairs],
        }
        pair_note = f"pairs of {self._contrast} gold"
        ratios = {k: Ratio(v, note=pair_note, signed=k == "pull") for k, v in columns.items()}
        metrics = ratio_values(ratios, [a.cluster for a, _ in pairs], harness)
        n_unreadable = sum(bool(t.note) for t in rename_trials)
        note = (
            f"{n_unreadable} of {len(rename_trials)} could not be predicted" if n_unreadable else ""
        )
        columns = {
            "rename_flip_rate": [t.flipped for t in rename_trials],
            "rename_dp": [t.probability_drop for t in rename_trials],
            "rename_accuracy_drop": [t.accuracy_drop for t in rename_trials],
        }
        ratios = {
            k: Ratio(v, note=note, signed=k != "rename_flip_rate") for k, v in columns.items()
        }
        metrics |= ratio_values(ratios, [c.row.cluster for c in perturbations], harness)
        return ProbeResult(metrics, (*swap_trials, *rename_trials))

    def _pairs(self, harness: ProbeHarness) -> list[tuple[ProbeRow, ProbeRow]]:
        """Pair each row with a row of its post whose gold contrasts, chosen by the seed."""
        posts = defaultdict(list)
        for row in harness.rows:
            if row.gold_label is not None:
                posts[row.post.id].append(row)
        options = [
            (a, self._contrasting_rows(a, posts[a.post.id]))
            for post_rows in posts.values()
            for a in post_rows
        ]
        contrasts_by_row = {id(a): contrasts for a, contrasts in options if contrasts}
        selected = harness.sample_rows([r for r in harness.rows if id(r) in contrasts_by_row])
        return [
            (a, harness.rng("swap", a.post.id, a.aspect).choice(contrasts_by_row[id(a)]))
            for a in selected
        ]

    def _contrasting_rows(self, row: ProbeRow, others: list[ProbeRow]) -> list[ProbeRow]:
        different = [r for r in others if r.gold_label is not row.gold_label]
        if self._contrast == "different":
            return different
        polar = (Polarity.POSITIVE, Polarity.NEGATIVE)
        return [r for r in different if r.gold_label in polar and row.gold_label in polar]


def _probability_pull(a: ProbeRow, b: ProbeRow) -> float | None:
    if a.prediction.probs is None or b.prediction.probs is None or b.gold_label is None:
        return None
    return b.prediction.probs.get(b.gold_label, 0.0) - a.prediction.probs.get(b.gold_label, 0.0)


def _swap_trial(a: ProbeRow, b: ProbeRow) -> Trial:
    return Trial(
        variant="swap",
        post=a.post.id,
        aspect=a.aspect.term,
        start=a.aspect.start,
        description=f"{b.aspect.term}, whose gold is {b.gold_label}",
        gold=a.gold_label,
        before=a.predicted_label,
        after=b.predicted_label,
        p_before=a.prediction.probability,
        p_after=b.prediction.probs.get(a.predicted_label) if b.prediction.probs else None,
    )


def _rename_perturbations(harness: ProbeHarness) -> list[Perturbation]:
    perturbations = []
    for row in harness.rows:
        renaming = rename_aspect(
            row.post, row.aspect, harness.rng("rename", row.post.id, row.aspect)
        )
        if renaming is not None:
            post, aspect = renaming
            perturbations.append(Perturbation(row, "renamed", post, aspect, aspect.term))
    selected = {id(r) for r in harness.sample_rows([c.row for c in perturbations])}
    return [c for c in perturbations if id(c.row) in selected]
