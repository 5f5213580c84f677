"""``ports.Meter`` over prometheus_client. Made by the command line from the declared metrics.

Every series whose label values are declared exists from the start, so that a dashboard can tell
"none yet" from "not measured". A label value that is not declared goes where ``other`` says.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)

from ..errors import Defect, UserError
from ..ports import Metric, MetricKind

T = TypeVar("T", Counter, Gauge, Histogram)
Series = Counter | Gauge | Histogram


class PrometheusMeter:
    """The declared metrics, in a registry of their own; safe to use from any thread.

    ``other`` stands for a label value that is not declared.
    """

    def __init__(self, metrics: Iterable[Metric], *, other: str = "other") -> None:
        self._declared = {metric.name: metric for metric in metrics}
        self._other = other
        self._registry = CollectorRegistry()
        self._made = {name: self._make(metric) for name, metric in self._declared.items()}

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """See ports.Meter. Raises Defect when it is not declared as a counter."""
        self._one(name, Counter, labels).inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter. Raises Defect when it is not declared as a gauge."""
        self._one(name, Gauge, labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter. Raises Defect when it is not declared as a histogram."""
        self._one(name, Histogram, labels).observe(value)

    def text(self) -> str:
        """All of it as Prometheus reads it."""
        return generate_latest(self._registry).decode()

    def serve(self, address: str, port: int) -> WSGIServer:
        """Serve it in a thread until ``shutdown`` of what is returned. Raises UserError."""
        try:
            server, _ = start_http_server(port, address, registry=self._registry)
        except OSError as error:
            raise UserError(
                f"Metrics cannot be served on {address}:{port} ({error.strerror}): "
                "name a free port."
            ) from error
        return server

    # --- inside ------------------------------------------------------------------------------

    def _make(self, metric: Metric) -> Series:
        labels = tuple(metric.labels)
        made: Series
        if metric.kind is MetricKind.COUNTER:
            made = Counter(metric.name, metric.help, labels, registry=self._registry)
        elif metric.kind is MetricKind.GAUGE:
            made = Gauge(metric.name, metric.help, labels, registry=self._registry)
        else:
            made = Histogram(
                metric.name, metric.help, labels, buckets=metric.buckets, registry=self._registry
            )
        for values in _declared_values(metric):
            made.labels(*values)
        return made

    def _one(self, name: str, kind: type[T], labels: dict[str, str]) -> T:
        made, metric = self._made.get(name), self._declared.get(name)
        if metric is None or not isinstance(made, kind) or labels.keys() != metric.labels.keys():
            raise Defect(f"No {kind.__name__.lower()} {name} with {sorted(labels)} is declared.")
        if not labels:
            return made
        known = {label: self._known(metric, label, value) for label, value in labels.items()}
        child: T = made.labels(**known)
        return child

    def _known(self, metric: Metric, label: str, value: str) -> str:
        declared = metric.labels[label]
        return value if not declared or value in declared else self._other


def _declared_values(metric: Metric) -> Iterator[tuple[str, ...]]:
    """All combinations of label values; none where a label's values are not known beforehand."""
    if metric.labels:
        yield from itertools.product(*metric.labels.values())
