"""What a probe is and finds, and the registry of probes.

Knows no probe. `run.probe` runs them.

    probes["erasure"].figures[0].name
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
    """What a probe found: its figures, and every changed row for the sample log."""

    metrics: dict[str, MetricValue]
    trials: tuple[Trial, ...] = ()


class Probe(Protocol):
    """Changes posts, has them read and says what became of the answers."""

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Every figure of the probe. Raises `Undefined` when none can be had, with the reason."""
        ...


class ProbeFactory(Protocol):
    """What a module of this room registers: a class with its options and figures."""

    Options: type[Settings]
    specs: tuple[MetricSpec, ...]
    """In the order printed; the first is the probe's headline."""

    def __call__(self, options: Any) -> Probe:
        """Make the probe; reads nothing yet."""
        ...


probes: Registry[ProbeFactory] = Registry("probe", "gen_msa.evaluation.probes", "gen_msa.probes")
