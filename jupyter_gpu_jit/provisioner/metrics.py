"""What the provisioner measures, declared in one place: names, labels and all of their values.

The process that runs it makes every series of ``ALL`` at its start, so that a dashboard can tell
"none yet" from "not measured"; the parts count through ``ports.Meter``. No label is a user's.
Durations are by the Clock port, so that a simulated run measures simulated time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..core.dry import THROTTLE_CODES
from ..core.progress import ORDER, Stage
from ..core.requirements import CapacityType
from ..ports import Metric, MetricKind, NoticeKind

NODES_CREATED = "gpu_jit_nodes_created"
NODES_TERMINATED = "gpu_jit_nodes_terminated"
SCHEDULING_SECONDS = "gpu_jit_scheduling_duration_seconds"
INTERRUPTIONS = "gpu_jit_interruptions_received"
NOTICES_DROPPED = "gpu_jit_notices_dropped"
CONSOLIDATIONS = "gpu_jit_consolidation_actions"
LAUNCHES = "gpu_jit_launches"
ICE = "gpu_jit_insufficient_capacity"
STAGE_SECONDS = "gpu_jit_stage_seconds"
PRICE_PAID = "gpu_jit_price_paid_usd_per_hour"
PRICE_ON_DEMAND = "gpu_jit_price_on_demand_usd_per_hour"
OFFERINGS = "gpu_jit_offerings"
PRICES_AGE_SECONDS = "gpu_jit_prices_age_seconds"
QUEUE_AGE_SECONDS = "gpu_jit_queue_age_seconds"
CLOUD_CALLS = "gpu_jit_cloud_calls"
CLOUD_THROTTLES = "gpu_jit_cloud_throttles"
LEAKS_ENDED = "gpu_jit_leaks_ended"
PLANS = "gpu_jit_plans"

OTHER = "other"
"""In place of a label value that is not declared."""

CAPACITY_TYPES = tuple(kind.value for kind in CapacityType)
LAUNCH_CODES = (
    "",
    "InsufficientInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "MaxFleetCountExceeded",
    "MaxSpotInstanceCountExceeded",
    "ReservationCapacityExceeded",
    "UnauthorizedOperation",
    "UnfulfillableCapacity",
    "Unsupported",
    "VcpuLimitExceeded",
    *sorted(THROTTLE_CODES),
    OTHER,
)
CLOUD_ACTIONS = (
    "CreateFleet",
    "CreateLaunchTemplate",
    "CreatePlacementGroup",
    "CreateTags",
    "DeleteLaunchTemplate",
    "DeletePlacementGroup",
    "DescribeImages",
    "DescribeInstanceStatus",
    "DescribeInstanceTopology",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeLaunchTemplates",
    "DescribePlacementGroups",
    "DescribeSecurityGroups",
    "DescribeSpotPriceHistory",
    "DescribeSubnets",
    "GetParameter",
    "GetProducts",
    "GetSpotPlacementScores",
    "TerminateInstances",
    OTHER,
)
"""Counted by the cloud's adapter, which knows what one call of the port is made of."""

OFFERING_STATES = ("available", "dry", "sold out")
# Those after it are the kubelet's and the hub's.
STAGES = tuple(stage.value for stage in ORDER[: ORDER.index(Stage.INITIALISED)])
_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 90, 120, 300, 600, 1800)


def _counter(name: str, help: str, **labels: tuple[str, ...]) -> Metric:
    return Metric(name=name, kind=MetricKind.COUNTER, help=help, labels=labels)


def _gauge(name: str, help: str, **labels: tuple[str, ...]) -> Metric:
    return Metric(name=name, kind=MetricKind.GAUGE, help=help, labels=labels)


def _histogram(
    name: str, help: str, buckets: tuple[float, ...], **labels: tuple[str, ...]
) -> Metric:
    return Metric(name=name, kind=MetricKind.HISTOGRAM, help=help, labels=labels, buckets=buckets)


ALL: tuple[Metric, ...] = (
    _counter(NODES_CREATED, "Nodes that joined the cluster.", capacity_type=CAPACITY_TYPES),
    _counter(NODES_TERMINATED, "Nodes that are confirmed gone.", capacity_type=CAPACITY_TYPES),
    _histogram(
        SCHEDULING_SECONDS,
        "From looking at who waits to their plan being written and begun.",
        (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    ),
    _counter(
        INTERRUPTIONS,
        "Notices of our own nodes that were acted on.",
        kind=tuple(kind.value for kind in NoticeKind),
    ),
    _counter(
        NOTICES_DROPPED,
        "Notices nothing was done about: of instances that are not ours, or said before.",
        reason=("unknown", "duplicate"),
    ),
    _counter(
        CONSOLIDATIONS, "Nodes given back or replaced to save money.", action=("empty", "replace")
    ),
    _counter(
        LAUNCHES,
        "Instances asked for, by what came of it; the code is the cloud's own.",
        capacity_type=CAPACITY_TYPES,
        outcome=("launched", "failed"),
        code=LAUNCH_CODES,
    ),
    _counter(
        ICE,
        "Launches that a pool had no capacity for.",
        capacity_type=(),
        instance_type=(),
        zone=(),
    ),
    _histogram(STAGE_SECONDS, "Time that starts spent in each stage.", _SECONDS, stage=STAGES),
    _gauge(PRICE_PAID, "What all nodes that run cost together.", capacity_type=CAPACITY_TYPES),
    _gauge(PRICE_ON_DEMAND, "What the same nodes would cost on demand."),
    _gauge(OFFERINGS, "Offerings in the catalogue.", state=OFFERING_STATES),
    _gauge(PRICES_AGE_SECONDS, "Age of the price table that plans are made with."),
    _histogram(QUEUE_AGE_SECONDS, "From what a cloud said to our having heard it.", _SECONDS),
    _counter(CLOUD_CALLS, "Requests sent to the cloud.", action=CLOUD_ACTIONS),
    _counter(CLOUD_THROTTLES, "Requests that the cloud put off.", action=CLOUD_ACTIONS),
    _counter(
        LEAKS_ENDED,
        "Things found without an owner and ended.",
        what=("instance", "claim", "node", "launch-template", "placement-group"),
    ),
    _counter(
        PLANS,
        "Plans by how far they may be from the best: proven, within 2 % of the bound, above.",
        gap=("proven", "within", "above"),
    ),
)
"""Every metric. Series of labels without declared values come when they are first used."""


def known(name: str, label: str, value: str) -> str:
    """The value if it is declared for that label, else ``OTHER``."""
    declared = next(metric for metric in ALL if metric.name == name).labels[label]
    return value if value in declared else OTHER


def series(metric: Metric) -> Iterable[Mapping[str, str]]:
    """The label values of every series that exists from the start on."""
    found: list[dict[str, str]] = [{}]
    for label, values in metric.labels.items():
        found = [{**labels, label: value} for labels in found for value in values]
    return found


class Silent:
    """A ``ports.Meter`` nobody reads."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """See ports.Meter."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter."""
