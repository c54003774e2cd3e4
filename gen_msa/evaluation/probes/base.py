"""The protocol of probes, their result, and the registry.

probes["erasure"].specs[0].name
"""

from dataclasses import dataclass
from typing import Any, Protocol

from gen_msa.evaluation.probes._harness import ProbeHarness, Trial
from gen_msa.metrics import MetricSpec
from gen_msa.registry import Registry
from gen_msa.results import MetricValue
from gen_msa.settings import Settings


@dataclass(frozen=True)
class ProbeResult:
    """The metrics of a probe, and every changed row for the sample log."""

    metrics: dict[str, MetricValue]
    trials: tuple[Trial, ...] = ()


class Probe(Protocol):
    """Changes posts, has them predicted, and measures how the predictions change."""

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Compute every metric of the probe.

        Raises:
            UndefinedMetric: The probe does not apply; the message says why.
        """
        ...


class ProbeFactory(Protocol):
    """What a probe module registers: a class with its options and metrics."""

    Options: type[Settings]
    specs: tuple[MetricSpec, ...]
    """In the order printed; the first is the probe's headline."""

    def __call__(self, options: Any) -> Probe:
        """Build the probe; nothing is predicted yet."""
        ...


probes: Registry[ProbeFactory] = Registry("probe", "gen_msa.evaluation.probes", "gen_msa.probes")
