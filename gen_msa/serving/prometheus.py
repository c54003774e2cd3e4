"""Define what `/metrics` counts. No label holds a text or an id of a post.

metrics = ServiceMetrics()
metrics.requests.labels("200").inc()
metrics.render()
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class ServiceMetrics:
    """Counters, gauges and histograms of one service, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "gen_msa_requests",
            "Requests by status; 499: the client disconnected.",
            ["status"],
            registry=registry,
        )
        self.posts = Counter(
            "gen_msa_posts", "Posts: answered, refused, or failed.", ["outcome"], registry=registry
        )
        self.rows = Counter("gen_msa_rows", "Rows (aspects of posts) predicted.", registry=registry)
        self.queued_rows = Gauge(
            "gen_msa_queue_rows", "Rows that wait for the model.", registry=registry
        )
        self.queued_tokens = Gauge(
            "gen_msa_queue_tokens",
            "Tokens, about, that wait for the model.",
            registry=registry,
        )
        self.cancelled = Counter(
            "gen_msa_cancelled_posts",
            "Posts whose prediction ended early because their clients had left.",
            registry=registry,
        )
        self.in_flight = Gauge(
            "gen_msa_requests_in_flight", "Requests to explain in flight.", registry=registry
        )
        self.body_bytes = Gauge(
            "gen_msa_body_bytes", "Bytes of request bodies in memory.", registry=registry
        )
        self.ready = Gauge("gen_msa_ready", "1 when the model is loaded.", registry=registry)
        self.batch_rows = Histogram(
            "gen_msa_batch_rows", "Rows of one batch.", registry=registry, buckets=_ROWS
        )
        self.prediction_seconds = Histogram(
            "gen_msa_predict_seconds", "Seconds of one batch.", registry=registry, buckets=_SECONDS
        )
        self.request_seconds = Histogram(
            "gen_msa_request_seconds",
            "Seconds from headers to answer, of requests to explain.",
            registry=registry,
            buckets=_SECONDS,
        )

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
