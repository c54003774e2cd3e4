"""Cue swap: does the prediction change with the cues of another post, or of another aspect?

`post`: the row gets the cues of a row of another post, with another gold label where there is one.
`aspect`: those of another aspect of the same post. Only the cues change; text, image and question
stay. A row whose cues come out the same is not predicted again and is in no metric. The probe needs
a predictor that can replace its cue sources (`with_cues`, as prompted predictors can).

    run_probes(["cue_swap"], predictor, settings, examples, predictions, media_root)
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

from gen_msa.cues import CueSource
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
from gen_msa.predictors import Predictor, RequestPreview
from gen_msa.results import MetricValue
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Post

Donors = dict[tuple[str, Aspect], tuple[Post, Aspect]]
"""Post id and aspect -> the post and aspect whose cue is given instead."""


@runtime_checkable
class AcceptsCueSources(Protocol):
    """A predictor whose cue sources can be replaced."""

    def with_cues(self, change: Callable[[CueSource], CueSource]) -> Predictor:
        """Return the same predictor, model included, with each cue source as `change` makes it."""
        ...


class SwappedCueSource:
    """A cue source that returns for one aspect the cue of another.

    Args:
        source: The original cue source.
        donors: Whose cue replaces which.
    """

    def __init__(self, source: CueSource, donors: Donors) -> None:
        self._source = source
        self._donors = donors
        self.slot = source.slot

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """Return the donor's cue for an aspect that has one, else the original."""
        original = self._source.cues(posts)
        targets = [(p, a) for p in posts for a in p.aspects if (p.id, a) in self._donors]
        donors = [self._donors[p.id, a] for p, a in targets]
        donor_cues = self._source.cues([p for p, _ in donors])
        swapped = {
            (p.id, a): cues[donor_post.aspects.index(donor_aspect)]
            for (p, a), (donor_post, donor_aspect), cues in zip(
                targets, donors, donor_cues, strict=True
            )
        }
        return [
            tuple(
                Cue(text=swapped[p.id, a].text, source=f"swapped:{swapped[p.id, a].source}")
                if (p.id, a) in swapped
                else cue
                for a, cue in zip(p.aspects, cues, strict=True)
            )
            for p, cues in zip(posts, original, strict=True)
        ]

    def fingerprint(self) -> str:
        """Return a fingerprint of the source and the donors."""
        names = sorted((*k, v[0].id, v[1].model_dump_json()) for k, v in self._donor_keys())
        return f"swapped:{names}:{self._source.fingerprint()}"

    def _donor_keys(self) -> list[tuple[tuple[str, str], tuple[Post, Aspect]]]:
        return [((i, a.model_dump_json()), donor) for (i, a), donor in self._donors.items()]


class CueSwapOptions(Settings):
    """There are no options."""


@probes.register
class CueSwap:
    """Predict posts with cues that were made for others."""

    Options: ClassVar[type[Settings]] = CueSwapOptions
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec("post_flip_rate", "labels that change with another post's cues", "share", ""),
        MetricSpec("post_dp", "p(c|x) - p(c|x with another post's cues)", "score", ""),
        MetricSpec(
            "aspect_flip_rate", "labels that change with another aspect's cues", "share", ""
        ),
        MetricSpec("aspect_dp", "p(c|x) - p(c|x with another aspect's cues)", "score", ""),
    )

    def __init__(self, options: CueSwapOptions) -> None:
        self._options = options

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Run the probe.

        Raises:
            UndefinedMetric: The model takes no cues, or no cue changes.
        """
        if not isinstance(harness.predictor, AcceptsCueSources):
            raise UndefinedMetric("the model takes no cues")
        rows = harness.sample_rows(harness.rows)
        before = _previews(harness.predictor, rows)
        metrics, trials = dict[str, MetricValue](), list[Trial]()
        for variant, choose_donor in (("post", _other_post), ("aspect", _other_aspect)):
            donor_rows = {(r.post.id, r.aspect): choose_donor(r, harness) for r in rows}
            donors = {k: (d.post, d.aspect) for k, d in donor_rows.items() if d}
            swapped_predictor = harness.predictor.with_cues(
                partial(SwappedCueSource, donors=donors)
            )
            after = _previews(swapped_predictor, rows)
            perturbations = [
                Perturbation(r, variant, r.post, r.aspect, _describe_cues(after[k].cues))
                for r in rows
                for k in [(r.post.id, r.aspect)]
                if after[k].prompt != before[k].prompt
            ]
            variant_trials = harness.predict(perturbations, swapped_predictor)
            trials += variant_trials
            metrics |= _variant_metrics(variant, variant_trials, perturbations, len(rows), harness)
        if not trials:
            raise UndefinedMetric("the model gets no cue that another post or aspect would change")
        return ProbeResult(metrics, tuple(trials))


def _previews(
    predictor: Predictor, rows: Sequence[ProbeRow]
) -> dict[tuple[str, Aspect], RequestPreview]:
    """Post id and aspect -> the question about it. Asks no model."""
    posts = list({r.post.id: r.post for r in rows}.values())
    keys = [(p.id, a) for p in posts for a in p.aspects]
    previews = predictor.preview(posts)
    if [(s.post.id, s.aspect) for s in previews] != [(i, a.term) for i, a in keys]:
        raise UndefinedMetric("the model chooses its own aspects")
    return dict(zip(keys, previews, strict=True))


def _other_post(row: ProbeRow, harness: ProbeHarness) -> ProbeRow | None:
    others = [r for r in harness.rows if r.post.id != row.post.id]
    different = [
        r
        for r in others
        if (r.gold_label or r.predicted_label) is not (row.gold_label or row.predicted_label)
    ]
    rng = harness.rng("cue", row.post.id, row.aspect)
    return rng.choice(different or others) if others else None


def _other_aspect(row: ProbeRow, harness: ProbeHarness) -> ProbeRow | None:
    others = [r for r in harness.rows if r.post.id == row.post.id and r.aspect != row.aspect]
    different = [
        r
        for r in others
        if (r.gold_label or r.predicted_label) is not (row.gold_label or row.predicted_label)
    ]
    rng = harness.rng("cue", row.post.id, row.aspect)
    return rng.choice(different or others) if others else None


def _describe_cues(cues: dict[str, str]) -> str:
    return "; ".join(f"{slot}: {text}" for slot, text in cues.items())


def _variant_metrics(
    variant: str,
    trials: list[Trial],
    perturbations: list[Perturbation],
    n_rows: int,
    harness: ProbeHarness,
) -> dict[str, MetricValue]:
    n_unreadable = sum(bool(t.note) for t in trials)
    notes = [f"{n_rows - len(trials)} of {n_rows} rows: no other cue available"] * (
        len(trials) < n_rows
    )
    notes += [f"{n_unreadable} could not be predicted"] * bool(n_unreadable)
    columns = {"flip_rate": [t.flipped for t in trials], "dp": [t.probability_drop for t in trials]}
    ratios = {
        f"{variant}_{k}": Ratio(v, note="; ".join(notes), signed=k == "dp")
        for k, v in columns.items()
    }
    return ratio_values(ratios, [c.row.cluster for c in perturbations], harness)
