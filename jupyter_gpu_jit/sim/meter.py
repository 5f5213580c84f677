"""A meter that remembers everything, for simulated worlds and tests.

As strict as a real one: a metric that was not declared, or labels other than those declared for
it, are a Defect.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from ..errors import Defect
from ..ports import Metric, MetricKind
from ..provisioner.metrics import ALL

Series = tuple[str, tuple[tuple[str, str], ...]]


class Recorder:
    """``ports.Meter``; ask ``counted``, ``last`` and ``observed``."""

    def __init__(self) -> None:
        self._declared: Mapping[str, Metric] = {metric.name: metric for metric in ALL}
        self._counts: Counter[Series] = Counter()
        self._gauges: dict[Series, float] = {}
        self._observations: defaultdict[Series, list[float]] = defaultdict(list)

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """See ports.Meter."""
        # Counter is typed for whole numbers; so are all amounts here.
        self._counts[self._series(name, MetricKind.COUNTER, labels)] += round(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter."""
        self._gauges[self._series(name, MetricKind.GAUGE, labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter."""
        self._observations[self._series(name, MetricKind.HISTOGRAM, labels)].append(value)

    def counted(self, name: str, **labels: str) -> int:
        """Sum over all series of the counter that have these labels."""
        return sum(n for series, n in self._counts.items() if _fits(series, name, labels))

    def last(self, name: str, **labels: str) -> float | None:
        """The gauge as it was set last, None before."""
        return self._gauges.get((name, tuple(sorted(labels.items()))))

    def observed(self, name: str, **labels: str) -> list[float]:
        """All observations of the histogram with these labels."""
        found = self._observations.items()
        return [one for series, all in found if _fits(series, name, labels) for one in all]

    def _series(self, name: str, kind: MetricKind, labels: Mapping[str, str]) -> Series:
        metric = self._declared.get(name)
        if metric is None or metric.kind is not kind or set(labels) != set(metric.labels):
            raise Defect(f"There is no {kind} {name} with labels {sorted(labels)}.")
        for label, value in labels.items():
            if metric.labels[label] and value not in metric.labels[label]:
                raise Defect(f"{value!r} is no declared value of {label} of {name}.")
        return name, tuple(sorted(labels.items()))


def _fits(series: Series, name: str, labels: Mapping[str, str]) -> bool:
    return series[0] == name and labels.items() <= dict(series[1]).items()
