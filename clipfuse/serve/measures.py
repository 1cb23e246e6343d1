"""What is counted, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Measures:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "clipfuse_requests", "Requests that were answered.", ["method", "path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "clipfuse_request_seconds",
            "From a request's head to the end of its answer.",
            ["path"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.batch_rows = Histogram(
            "clipfuse_batch_rows", "Rows that were predicted together.", registry=registry, buckets=_ROWS
        )
        self.batch_seconds = Histogram(
            "clipfuse_batch_seconds", "From inputs to labels, a batch.", registry=registry, buckets=_SECONDS
        )
        self.unusable = Counter("clipfuse_unusable_inputs", "Inputs that can't be used.", ["part"], registry=registry)
        self.under_way = Gauge("clipfuse_requests_under_way", "Predictions that have a place.", registry=registry)

    def on_batch(self, rows: int, seconds: float) -> None:
        """A batch is done."""
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
