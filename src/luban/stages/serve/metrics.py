"""What a server counts for Prometheus: base units, one label ``model``; it measures nothing by itself."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)


class Open:
    """A counter with its model filled in and other labels open."""

    def __init__(self, counter: Counter, model: str) -> None:
        self.counter, self.model = counter, model

    def labels(self, **labels: str) -> Counter:
        return self.counter.labels(model=self.model, **labels)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """The series of one model, bound to its label once."""

    requests: Open
    rejects: Open
    queue_wait: Histogram
    tokenise: Histogram
    infer: Histogram
    batch_rows: Histogram
    batch_tokens: Histogram
    padding: Histogram
    rows: Counter
    truncated: Counter
    in_flight: Gauge
    waiting: Gauge

    def answered(self, protocol: str, status: int) -> None:
        """One request was answered."""
        self.requests.labels(protocol=protocol, status=str(status)).inc()


class Metrics:
    """The series of one server in a registry of its own; `text` is what /metrics answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "requests answered", "protocol", "status")
        self.rejects = self._counter("rejects", "requests refused before the model saw them", "reason")
        self.queue_wait = self._histogram(
            "queue_wait_seconds", "from acceptance to the start of the model's call", SECONDS
        )
        self.tokenise = self._histogram("tokenise_seconds", "checking and encoding one request's rows", SECONDS)
        self.infer = self._histogram("infer_seconds", "one call of the model, decoding included", SECONDS)
        self.batch_rows = self._histogram("batch_rows", "rows in one call of the model", ROWS)
        self.batch_tokens = self._histogram(
            "batch_tokens", "sub-words in one call of the model, padding included", TOKENS
        )
        self.padding = self._histogram("padding_waste_ratio", "share of padding in one call of the model", SHARES)
        self.rows = self._counter("rows", "rows answered")
        self.truncated = self._counter("truncated_rows", "rows of which the end was not read")
        self.in_flight = self._gauge("in_flight_requests", "requests taken and not yet answered")
        self.waiting = self._gauge("waiting_requests", "requests of which no row has reached the model")

    def of(self, model: str) -> ModelMetrics:
        """The series of one model, which then read 0 instead of missing."""
        return ModelMetrics(
            Open(self.requests, model), Open(self.rejects, model),
            self.queue_wait.labels(model), self.tokenise.labels(model), self.infer.labels(model),
            self.batch_rows.labels(model), self.batch_tokens.labels(model), self.padding.labels(model),
            self.rows.labels(model), self.truncated.labels(model),
            self.in_flight.labels(model), self.waiting.labels(model),
        )  # fmt: skip

    def text(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"luban_{name}", about, ("model", *labels), registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"luban_{name}", about, ("model",), registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"luban_{name}", about, ("model",), buckets=buckets, registry=self.registry)
