"""/metrics: what the server does, for Prometheus."""

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cl_llama.server.errors import CLIENT_GONE
from cl_llama.server.exchange import Exchange
from cl_llama.server.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 150)
SECONDS_PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """One server's counts; a registry of their own, so that several servers may share a process."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Status(service))
        self._requests = Counter(
            "cl_llama_http_requests",
            "HTTP requests answered",
            ("method", "path", "status"),
            registry=self._registry,
        )
        self._queue = self._histogram("queue", "from a request to its first step", SECONDS)
        self._first = self._histogram(
            "time_to_first_token", "from a request to its first token", SECONDS
        )
        self._token = self._histogram(
            "time_per_token", "for each token of a text after its first", SECONDS_PER_TOKEN
        )

    def router(self) -> APIRouter:
        """The endpoint."""
        routes = APIRouter()

        @routes.get("/metrics", summary="Counts for Prometheus", tags=["server"])
        async def metrics() -> Response:
            """Requests, queue, tokens, latencies and the cache, in Prometheus' text format."""
            return Response(generate_latest(self._registry), media_type=CONTENT_TYPE)

        return routes

    def count(self, exchange: Exchange) -> None:
        """Count a request that is over."""
        # The route's pattern: what clients make up would be a series each.
        path = getattr(exchange.scope.get("route"), "path", "other")
        method = exchange.method if exchange.method in ("GET", "POST", "OPTIONS") else "other"
        self._requests.labels(method, path, str(exchange.status or CLIENT_GONE)).inc()
        for stream in exchange.streams:
            stats = stream.stats
            if stats.queue_seconds is not None:
                self._queue.observe(exchange.waited + stats.queue_seconds)
            if stats.seconds_to_first_token is not None:
                self._first.observe(exchange.waited + stats.seconds_to_first_token)
            if stats.generated_tokens_per_second:
                self._token.observe(1 / stats.generated_tokens_per_second)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"cl_llama_{name}_seconds", f"Seconds {what}", buckets=buckets, registry=self._registry
        )


class _Status(Collector):
    """Reads the server's and the engine's state when it is asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """What is the case now, and the engine's totals."""
        service = self._service
        yield _gauge("ready", "1 if requests are taken", service.state == "ok")
        yield _gauge("requests_running", "HTTP requests being answered", service.line.inside)
        yield _gauge("requests_waiting", "HTTP requests in line", service.line.waiting)
        if not service.has_model:
            return
        status = service.llm.engine.status()
        yield _gauge("sequences_running", "Texts that take part in steps", status.running)
        yield _gauge("sequences_waiting", "Texts that wait for a place in steps", status.waiting)
        blocks = GaugeMetricFamily("cl_llama_cache_blocks", "Blocks of the cache", labels=["state"])
        free = status.cache_blocks - status.cache_blocks_held - status.cache_blocks_idle
        blocks.add_metric(["held"], status.cache_blocks_held)
        blocks.add_metric(["idle"], status.cache_blocks_idle)
        blocks.add_metric(["free"], free)
        yield blocks
        totals = {
            "prompt_tokens": "Tokens of prompts",
            "cached_tokens": "Tokens of prompts that the cache held",
            "generated_tokens": "Tokens generated",
            "preemptions": "Texts that gave their cache to older ones and were computed anew",
            "steps": "Runs of the model",
            "rebuilds": "Times that the model was loaded anew after an error of the device",
            "draft_tokens": "Tokens proposed by speculation",
            "accepted_draft_tokens": "Proposed tokens that the model chose, too",
        }
        for name, what in totals.items():
            yield CounterMetricFamily(f"cl_llama_{name}", what, value=getattr(status, name))


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cl_llama_{name}", what, value=value)
