"""Probes: change the input of a model and see whether its predictions follow.

A probe is one file in this package. It starts from the existing predictions, so that nothing is
predicted twice, has changed posts predicted, and reports each metric with n and a 95 % interval. A
probe that does not apply to a model is `not applicable`, with the reason. Metrics called `dp` or
named after a probability need a model that gives probabilities.

    predictions = predictor.predict([e.post for e in examples])
    run_probes(["erasure"], predictor, settings, examples, predictions, media_root, limit=200)

A changed post keeps its id and all its aspects (the name of another aspect affects some cues), and
is predicted with the settings of the model.
"""

from gen_msa.evaluation.probes._harness import ProbeHarness, ProbeRow, Trial
from gen_msa.evaluation.probes.base import Probe, ProbeFactory, ProbeResult, probes
from gen_msa.evaluation.probes.run import run_probes

__all__ = [
    "Probe",
    "ProbeFactory",
    "ProbeHarness",
    "ProbeResult",
    "ProbeRow",
    "Trial",
    "probes",
    "run_probes",
]
