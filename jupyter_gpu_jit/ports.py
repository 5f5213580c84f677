"""The doors to the outside, as Protocols: only what somebody calls.

Objects of the cluster travel as the JSON the API server sends; ``core.wire`` reads them.
Every method may raise ``errors.Unavailable`` (and then a write may still have taken effect).
Implemented by ``adapters`` for the real things and by ``sim`` for the simulated ones; one
contract suite (tests/contract) runs against all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from .core.model import InstanceType, Offering

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: API group ("" is core), version, plural as in URLs, kind as in JSON."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


PODS = Kind("", "v1", "pods", "Pod", True)
NODES = Kind("", "v1", "nodes", "Node", False)
EVENTS = Kind("", "v1", "events", "Event", True)
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease", True)
CLAIMS = Kind("gpu-jit.io", "v1alpha1", "gpunodeclaims", "GpuNodeClaim", False)
VOLUME_CLAIMS = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True)
VOLUMES = Kind("", "v1", "persistentvolumes", "PersistentVolume", False)
STORAGE_CLASSES = Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", False)
VOLUME_ATTACHMENTS = Kind("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", False)


@dataclass(frozen=True, slots=True)
class Listing:
    """A consistent list, and where a watch may go on from."""

    items: tuple[Json, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; ``type`` ADDED, MODIFIED, DELETED or BOOKMARK (only its version counts)."""

    type: str
    object: Json


class Cluster(Protocol):
    """The Kubernetes API. Selectors use its string syntax; "" means no selector.

    ``namespace`` "" on list and watch of a namespaced kind means all namespaces.
    """

    async def list(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """All matching objects at one resource version."""
        ...

    def watch(
        self,
        kind: Kind,
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Changes after ``resource_version``; ends when the server ends it. Raises Expired."""
        ...

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Json:
        """One object. Raises NotFound."""
        ...

    async def create(
        self, kind: Kind, body: Json, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Json:
        """The object as stored. ``name`` and ``subresource`` for ``pods/NAME/binding``.

        Raises AlreadyExists, NotFound (namespace), Rejected.
        """
        ...

    async def patch(
        self, kind: Kind, name: str, patch: Json, *, namespace: str = "", subresource: str = ""
    ) -> Json:
        """JSON merge patch; the object as stored.

        With ``metadata.resourceVersion`` in the patch, raises Conflict when the object has
        changed since. Raises NotFound, Rejected.
        """
        ...

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """Ask for deletion; ``uid`` and ``resource_version`` are preconditions (Conflict).

        Raises NotFound.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementGroup:
    """Instances that are to stand near each other (cluster) or apart (partition).

    ``name`` is unique in the account; the group is made when it is not there yet.
    """

    name: str
    strategy: str = "cluster"
    partitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """A fleet request: ``count`` instances of whichever offering has capacity, best first.

    The same ``client_token`` with the same request returns the first answer again and
    launches nothing. Fewer than ``at_least`` are not launched at all. ``tags`` are put on every
    instance. ``layout``: what the GPUs are to be divided into before the node joins
    (core.layouts). ``efa``: with as many EFA interfaces as the type has.
    """

    client_token: str
    offerings: tuple[Offering, ...]
    count: int
    at_least: int = 1
    layout: str = ""
    placement_group: PlacementGroup | None = None
    efa: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance; ``state`` is pending, running, shutting-down or terminated."""

    id: str
    provider_id: str
    instance_type: str
    zone: str
    capacity_type: str
    state: str
    launched_at: float
    usd_per_hour_micro: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailure:
    """Why an offering gave nothing; ``code`` is the cloud's own name for it."""

    offering: Offering
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchResult:
    """What a fleet request gave: maybe fewer instances than asked, with the reasons."""

    instances: tuple[Instance, ...]
    failures: tuple[LaunchFailure, ...] = ()


class Cloud(Protocol):
    """Where instances come from."""

    async def instance_types(self) -> Sequence[InstanceType]:
        """All types with their offerings at prices of now."""
        ...

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """Carry out a fleet request, once per client token."""
        ...

    async def instances(self) -> Sequence[Instance]:
        """Every instance that carries our cluster tag and is not long gone (may lag)."""
        ...

    async def terminate(self, instance_ids: Sequence[str]) -> None:
        """End instances; unknown or ended ones are no error."""
        ...

    async def network_nodes(self, instance_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """The network nodes above each running instance, widest first; without those unknown."""
        ...


class NoticeKind(StrEnum):
    """What a cloud says of an instance without being asked."""

    INTERRUPTION = "interruption"
    REBALANCE = "rebalance"
    ENDED = "ended"
    SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing said of one instance; it may come twice, late, and out of order.

    ``said_at`` and ``deadline`` (when the instance is taken, if known) are epoch seconds;
    ``receipt`` is for ``Notices.settle`` alone.
    """

    kind: NoticeKind
    instance_id: str
    said_at: float
    deadline: float | None = None
    receipt: str = ""


class Notices(Protocol):
    """Where notices come from: a queue that delivers again what is not settled."""

    async def receive(self) -> Sequence[Notice]:
        """The next notices, ten at most; after some seconds without any, none."""
        ...

    async def settle(self, notices: Sequence[Notice]) -> None:
        """These were acted on: they need not come again."""
        ...


class MetricKind(StrEnum):
    """What a metric does: only rise, be set, or collect observations in buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric as it is declared; ``name`` without the ``_total`` of counters.

    ``labels`` has the values of each label, all of which exist from the start on; of a label
    without values they are as many as the cloud makes them (pools). ``buckets`` of a histogram
    are upper bounds in the unit that the name ends with.
    """

    name: str
    kind: MetricKind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


class Meter(Protocol):
    """Metrics. Names and labels are those declared in ``provisioner/metrics.py``."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        ...


class Clock(Protocol):
    """Time. ``now`` is epoch seconds; ``sleep`` obeys the same clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...


class Ids(Protocol):
    """Fresh names."""

    def new(self, prefix: str) -> str:
        """``prefix`` followed by something never given before; a valid DNS label."""
        ...
