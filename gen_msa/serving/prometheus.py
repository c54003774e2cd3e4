"""What `/metrics` counts, in Prometheus' own text. No label holds a word or an id of a post.

Each service has a registry of its own. Knows nothing of requests.

    figures = Figures(); figures.requests.labels("200").inc(); figures.text()
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class ServiceMetrics:
    """The service's counters, gauges and histograms."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "gen_msa_requests",
            "Requests by status; 499: the client left.",
            ["status"],
            registry=registry,
        )
        self.posts = Counter(
            "gen_msa_posts", "Posts: answered, refused, or failed.", ["outcome"], registry=registry
        )
        self.rows = Counter("gen_msa_rows", "Rows (aspects of posts) read.", registry=registry)
        self.queued_rows = Gauge(
            "gen_msa_queue_rows", "Rows that wait for the reader.", registry=registry
        )
        self.in_flight = Gauge(
            "gen_msa_requests_in_flight", "Requests to explain now.", registry=registry
        )
        self.body_bytes = Gauge(
            "gen_msa_body_bytes", "Bytes of bodies held now.", registry=registry
        )
        self.ready = Gauge("gen_msa_ready", "1 when the reader is loaded.", registry=registry)
        self.batch_rows = Histogram(
            "gen_msa_batch_rows", "Rows read together.", registry=registry, buckets=_ROWS
        )
        self.prediction_seconds = Histogram(
            "gen_msa_read_seconds", "Seconds of one reading.", registry=registry, buckets=_SECONDS
        )
        self.request_seconds = Histogram(
            "gen_msa_request_seconds",
            "Seconds from headers to answer, of requests to explain.",
            registry=registry,
            buckets=_SECONDS,
        )

    def render(self) -> bytes:
        """All figures as they stand."""
        return generate_latest(self._registry)
