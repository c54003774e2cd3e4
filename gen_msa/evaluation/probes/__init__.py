"""Probes: change what a reader is given, and see whether its answer follows.

A probe is a file here. It starts from the reader's own answers, so that nothing is read twice, has
it read changed posts, and reports each figure with its n and a 95 % interval. A reader that cannot
be probed in some way is `not applicable`, with the reason. Works with any reader; figures called
`dp` or named after a probability need one that gives probabilities. Knows nothing of suites.

    probe(["erasure"], reader, settings, examples, reader.read(posts), media_root, limit=200)

Every changed post keeps its id and all its aspects (a rival's name shapes some cues), and is asked
as the reader's settings say.
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
