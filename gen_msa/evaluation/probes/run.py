"""Run probes on the predictions of one model.

run_probes(["erasure"], predictor, settings, examples, predictions, media_root, limit=200)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gen_msa.evaluation.probes._harness import ProbeHarness, ProbeRow
from gen_msa.evaluation.probes.base import Probe, ProbeFactory, ProbeResult, probes
from gen_msa.metrics import UndefinedMetric
from gen_msa.predictors import Prediction, Predictor, PredictorSettings
from gen_msa.results import MetricValue
from gen_msa.settings import build
from gen_msa.types import OVERALL_ASPECT, Example


def run_probes(
    names: Sequence[str] | Mapping[str, Mapping[str, Any]],
    predictor: Predictor,
    settings: PredictorSettings,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    media_root: Path,
    *,
    reference: str = "gold",
    cluster: Literal["image", "post"] = "image",
    seed: int = 0,
    limit: int | None = None,
    replicates: int = 10_000,
) -> dict[str, ProbeResult]:
    """Run probes on existing predictions.

    Args:
        names: Names of probes, or probes with their options.
        predictor: The model.
        settings: The settings it was built with.
        examples: The posts with gold opinions.
        predictions: The model's prediction for each example, in order.
        media_root: Folder that relative media paths start from.
        reference: The annotator whose opinions are gold.
        cluster: Rows that share it are resampled together.
        seed: Seed of all random choices.
        limit: Posts that a probe predicts again, chosen by a hash of seed and id; None: all.
        replicates: Bootstrap replicates.

    Returns:
        Probe -> its metrics and trials.

    Raises:
        UserError: An unknown probe or option.
    """
    options = names if isinstance(names, Mapping) else {name: {} for name in names}
    built = {
        name: (factory, factory(build(factory.Options, values, f"probes.{name}")))
        for name, values in options.items()
        for factory in [probes[name]]
    }
    rows = _rows(examples, predictions, reference, cluster)
    harness = ProbeHarness(predictor, settings, media_root, rows, seed, limit, replicates)
    return {
        name: _run_probe(factory, instance, harness) for name, (factory, instance) in built.items()
    }


def _run_probe(factory: ProbeFactory, instance: Probe, harness: ProbeHarness) -> ProbeResult:
    try:
        return instance(harness)
    except UndefinedMetric as e:
        note = f"not applicable: {e}"
        return ProbeResult({f.name: MetricValue(value=None, n=0, note=note) for f in factory.specs})


def _rows(
    examples: Sequence[Example], predictions: Sequence[Prediction], reference: str, cluster: str
) -> tuple[ProbeRow, ...]:
    """Build one row for each opinion of the model that has a label; others cannot change."""
    rows = []
    for example, prediction in zip(examples, predictions, strict=True):
        post = example.post
        gold = {o.aspect: o for o in example.opinions_by(reference)}
        images = [m.path for m in post.media if m.kind == "image"]
        if not post.aspects:
            # Aspects that the model extracted itself are given by name from now on.
            extracted = tuple(dict.fromkeys(o.aspect for o in prediction.opinions))
            post = post.model_copy(update={"aspects": extracted or (OVERALL_ASPECT,)})
        for opinion in prediction.opinions:
            if opinion.polarity is not None:
                cluster_id = images[0] if images and cluster == "image" else post.id
                rows.append(
                    ProbeRow(post, opinion.aspect, gold.get(opinion.aspect), opinion, cluster_id)
                )
    return tuple(rows)
