"""The nouns: what core decides about. Frozen, typed, with units in their names.

Everybody imports these; nothing here knows Kubernetes JSON (see wire.py) or a cloud API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from .quotas import Quota
from .requirements import NVIDIA, CapacityPolicy, CapacityType, GpuShare, Requirements, Taint


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount of everything a node has; a session uses 1 of ``pods``.

    ``gpus`` are units as Kubernetes counts them: whole GPUs, or the shares a node's layout makes
    of them. ``volumes`` are attached ones (EBS), ``local_disk_bytes`` is the instance's own NVMe.
    """

    cpu_millicpu: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    pods: int = 0
    volumes: int = 0
    local_disk_bytes: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            cpu_millicpu=self.cpu_millicpu + other.cpu_millicpu,
            memory_bytes=self.memory_bytes + other.memory_bytes,
            gpus=self.gpus + other.gpus,
            pods=self.pods + other.pods,
            volumes=self.volumes + other.volumes,
            local_disk_bytes=self.local_disk_bytes + other.local_disk_bytes,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            cpu_millicpu=self.cpu_millicpu - other.cpu_millicpu,
            memory_bytes=self.memory_bytes - other.memory_bytes,
            gpus=self.gpus - other.gpus,
            pods=self.pods - other.pods,
            volumes=self.volumes - other.volumes,
            local_disk_bytes=self.local_disk_bytes - other.local_disk_bytes,
        )

    def fits_in(self, room: Resources) -> bool:
        """Whether this amount is within ``room`` in every dimension."""
        return (
            self.cpu_millicpu <= room.cpu_millicpu
            and self.memory_bytes <= room.memory_bytes
            and self.gpus <= room.gpus
            and self.pods <= room.pods
            and self.volumes <= room.volumes
            and self.local_disk_bytes <= room.local_disk_bytes
        )

    def at_most(self, other: Resources) -> Resources:
        """The smaller of both in each dimension."""
        return Resources(
            cpu_millicpu=min(self.cpu_millicpu, other.cpu_millicpu),
            memory_bytes=min(self.memory_bytes, other.memory_bytes),
            gpus=min(self.gpus, other.gpus),
            pods=min(self.pods, other.pods),
            volumes=min(self.volumes, other.volumes),
            local_disk_bytes=min(self.local_disk_bytes, other.local_disk_bytes),
        )


UNTOLD = 1 << 48
"""Of volumes and local disk on a node: it does not say how much, so that is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a user picks. ``gpus`` 0 means none; ``gpu_models`` empty and ``gpu_memory_gib`` 0: any.

    With a ``gpu_share``, ``gpus`` is 1 and counts the share. ``driver_families`` and
    ``architectures`` are what the image works with; the other fields of Requirements mean the
    same here. ``shared_memory_bytes`` (/dev/shm) is counted inside the memory guarantee.
    ``image`` None means the hub's default. ``groups`` empty means everybody. ``choices`` says
    which fields a user may vary and within what (declared and checked in options.py).
    """

    slug: str
    display_name: str
    description: str = ""
    gpus: int = 0
    gpu_models: tuple[str, ...] = ()
    gpu_memory_gib: int = 0
    gpu_share: GpuShare | None = None
    min_compute_capability_tenths: int = 0
    nvlink: bool = False
    efa: bool = False
    driver_families: tuple[str, ...] = (NVIDIA,)
    architectures: tuple[str, ...] = ("amd64",)
    local_disk_bytes: int = 0
    max_interruptions_per_hour: float | None = None
    cpu_guarantee_millicpu: int = 1000
    cpu_limit_millicpu: int | None = None
    memory_guarantee_bytes: int = 1 << 30
    memory_limit_bytes: int | None = None
    shared_memory_bytes: int | None = None
    image: str | None = None
    capacity: CapacityPolicy = CapacityPolicy.SPOT
    zones: tuple[str, ...] = ()
    max_seconds: int | None = None
    max_usd_per_hour_micro: int | None = None
    groups: tuple[str, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)

    @property
    def effective_memory_limit_bytes(self) -> int:
        """Memory limit; the guarantee unless the profile says otherwise."""
        return self.memory_limit_bytes or self.memory_guarantee_bytes

    @property
    def effective_shared_memory_bytes(self) -> int:
        """Size of /dev/shm; half the memory guarantee unless the profile says otherwise."""
        if self.shared_memory_bytes is not None:
            return self.shared_memory_bytes
        return self.memory_guarantee_bytes // 2

    @property
    def resources(self) -> Resources:
        """What a session of this profile needs of a node."""
        return Resources(
            cpu_millicpu=self.cpu_guarantee_millicpu,
            memory_bytes=self.memory_guarantee_bytes,
            gpus=self.gpus,
            pods=1,
            local_disk_bytes=self.local_disk_bytes,
        )

    @property
    def requirements(self) -> Requirements:
        """What a session of this profile asks of a node besides size."""
        return Requirements(
            gpu_models=self.gpu_models,
            gpu_memory_gib=self.gpu_memory_gib,
            min_compute_capability_tenths=self.min_compute_capability_tenths,
            nvlink=self.nvlink,
            efa=self.efa,
            share=self.gpu_share,
            driver_families=self.driver_families,
            architectures=self.architectures,
            max_interruptions_per_hour=self.max_interruptions_per_hour,
            capacity=self.capacity,
            zones=self.zones,
            max_usd_per_hour_micro=self.max_usd_per_hour_micro,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """One thing the cloud sells: instance type x zone x capacity type, at a price now.

    ``interruptions_per_hour``: how often the cloud takes such a node back; None is unknown.
    """

    instance_type: str
    zone: str
    capacity_type: CapacityType
    usd_per_hour_micro: int
    available: bool = True
    interruptions_per_hour: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity without the price: (instance type, zone, capacity type)."""
        return (self.instance_type, self.zone, self.capacity_type.value)


class Probe(StrEnum):
    """What is known of a type under the image in use: a new pair is tried with one node first."""

    PROVEN = ""
    FIRST = "first"
    IN_FLIGHT = "in-flight"
    FAILED = "failed"


class Together(StrEnum):
    """How near to each other the sessions of a group must be."""

    NODE = "node"
    ZONE = "zone"
    RACK = "rack"
    PLACEMENT_GROUP = "placement-group"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPolicy:
    """What a group asks; ``size`` members are waited for when ``all_or_none``."""

    together: Together = Together.ZONE
    all_or_none: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTerms:
    """What a launch asks besides offerings and layout; alike for all claims of a fleet request.

    ``placement_group``: the instances join that one, of that strategy; "" is none. ``efa``: with
    as many EFA interfaces as the type has. Claims with the same ``together`` that is not "" are
    launched all in one request or not at all.
    """

    placement_group: str = ""
    placement_strategy: str = "cluster"
    efa: bool = False
    together: str = ""

    def at_least(self, count: int) -> int:
        """How many of ``count`` instances must be launched for any to be."""
        return count if self.together else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """A size the cloud has. ``gpu_memory_mib`` is of one GPU; ``allocatable`` is after overheads.

    ``gpu_interconnect``: single, fraction, pcie, nvlink2-mesh, nvswitch or empty.
    ``efa_interfaces``: how many it can have at most. ``driver_family``: what the node's image
    must bring for its GPUs: nvidia, nvidia-grid (fractions of a card) or empty.
    """

    name: str
    vcpu: int
    memory_mib: int
    allocatable: Resources
    architecture: str = "amd64"
    gpu_model: str = ""
    gpu_memory_mib: int = 0
    gpu_interconnect: str = ""
    efa_interfaces: int = 0
    driver_family: str = ""
    bare_metal: bool = False
    probe: Probe = Probe.PROVEN
    offerings: tuple[Offering, ...] = ()

    def on_demand_only(self) -> InstanceType:
        """The type without its Spot offerings."""
        kept = (o for o in self.offerings if o.capacity_type is CapacityType.ON_DEMAND)
        return replace(self, offerings=tuple(kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """One session that wants a seat. ``uid`` is the pod's; sizes are those of the admitted pod.

    ``place`` is the claim it was planned onto before (a preference, not a promise).
    ``group_policy`` holds for those of one ``group``. ``waits_for`` says what must come first (a
    volume); it is not planned before.
    """

    uid: str
    user: str
    server: str = ""
    profile: str = ""
    resources: Resources = field(default_factory=Resources)
    requirements: Requirements = field(default_factory=Requirements)
    created_at: float = 0.0
    group: str = ""
    group_policy: GroupPolicy = GroupPolicy()
    waits_for: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """The record in the pod's status annotation; ``since`` and ``eta_seconds`` in seconds."""

    stage: str
    since: float
    reason: str = ""
    node: str = ""
    instance_type: str = ""
    zone: str = ""
    capacity_type: str = ""
    usd_per_hour_micro: int = 0
    eta_seconds: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPod:
    """A session's pod as the API server has it.

    ``claim``: planned onto (annotation). ``pinned_to``: released onto (node selector), with
    ``released_at``. ``gates`` are all scheduling gates still present, ours and others'.
    ``volume_claims``: namespace and name of each claim it mounts.
    """

    name: str
    namespace: str
    uid: str
    resource_version: str
    request: SessionRequest
    gates: tuple[str, ...] = ()
    claim: str = ""
    pinned_to: str = ""
    released_at: float | None = None
    node_name: str = ""
    phase: str = "Pending"
    failure_reason: str = ""
    ready: bool = False
    deleting: bool = False
    status: SessionStatus | None = None
    volume_claims: tuple[tuple[str, str], ...] = ()

    @property
    def finished(self) -> bool:
        """Whether its containers are over for good, so that it holds no seat."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPod:
    """Somebody else's pod on a node (a DaemonSet's, say): only what it takes away."""

    name: str
    namespace: str
    uid: str
    node_name: str
    resources: Resources
    daemon: bool = False
    finished: bool = False
    deleting: bool = False
    volume_claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as the API server has it; ``claim`` is the pin label, empty before Registered."""

    name: str
    resource_version: str
    provider_id: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...] = ()
    allocatable: Resources = field(default_factory=Resources)
    ready: bool = False
    unschedulable: bool = False
    deleting: bool = False
    created_at: float = 0.0
    claim: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchBatch:
    """A fleet request as written before it is sent: which claims, in order, and which attempt."""

    id: str
    claims: tuple[str, ...]
    attempt: int = 1

    @property
    def client_token(self) -> str:
        """Idempotency token; a replay after a crash sends the same one."""
        return f"{self.id}-{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a claim; ``status`` None is Unknown."""

    type: str
    status: bool | None
    since: float
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Room kept on a node for a session that has to leave its own.

    ``session`` is the uid of the pod that has to leave; the next pod of that user and server gets
    the room, if it comes before ``until`` (epoch seconds).
    """

    session: str
    user: str
    server: str
    resources: Resources
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeClaim:
    """The intent to have a node, and what became of it.

    ``offerings`` in order of preference, all to be launched with ``layout`` (layouts.py) and on
    ``terms``; ``sessions`` are the pod uids it was planned for;
    the fields from ``provider_id`` on are empty until known. ``deadline`` is when the cloud takes
    the instance back, in epoch seconds.
    """

    name: str
    uid: str
    resource_version: str
    created_at: float
    cluster_id: str
    hub_id: str
    batch: LaunchBatch
    offerings: tuple[Offering, ...]
    layout: str = ""
    terms: LaunchTerms = LaunchTerms()
    sessions: tuple[str, ...] = ()
    provider_id: str = ""
    node_name: str = ""
    instance_type: str = ""
    zone: str = ""
    capacity_type: str = ""
    usd_per_hour_micro: int = 0
    empty_since: float | None = None
    deadline: float | None = None
    reservations: tuple[Reservation, ...] = ()
    conditions: tuple[Condition, ...] = ()
    deleting: bool = False

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None when it was never written."""
        return next((c for c in self.conditions if c.type == kind), None)

    def is_false(self, kind: str) -> bool:
        """Whether the condition of that type is False, and not merely absent or Unknown."""
        found = self.condition(kind)
        return found is not None and found.status is False

    def is_true(self, kind: str) -> bool:
        """Whether the condition of that type is True."""
        found = self.condition(kind)
        return found is not None and found.status is True


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place that exists or is on its way, with the room left on it.

    ``place`` is the claim name; ``ready`` means sessions can be released now. ``residual``
    already lacks what is bound, released or terminating there, but not what is only planned.
    ``layout`` is what its GPUs are divided into (layouts.py); ``total.gpus`` counts the parts.
    ``sessions`` are those there: bound, released or terminating.
    """

    place: str
    ready: bool
    residual: Resources
    total: Resources
    labels: Mapping[str, str]
    taints: tuple[Taint, ...] = ()
    node_name: str = ""
    instance_type: str = ""
    zone: str = ""
    capacity_type: CapacityType = CapacityType.ON_DEMAND
    gpu_model: str = ""
    gpu_memory_mib: int = 0
    gpu_interconnect: str = ""
    layout: str = ""
    driver_family: str = ""
    efa_interfaces: int = 0
    architecture: str = "amd64"
    usd_per_hour_micro: int = 0
    interruptions_per_hour: float | None = None
    sessions: tuple[SessionRequest, ...] = ()

    @property
    def sold(self) -> Offering:
        """What was bought, as the cloud sells it."""
        return Offering(
            instance_type=self.instance_type,
            zone=self.zone,
            capacity_type=self.capacity_type,
            usd_per_hour_micro=self.usd_per_hour_micro,
            interruptions_per_hour=self.interruptions_per_hour,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a plan may depend on, at one moment.

    ``groups`` has (group, place) of each session of a group that has its place already.
    """

    now: float
    waiting: tuple[SessionRequest, ...] = ()
    seats: tuple[Seat, ...] = ()
    instance_types: tuple[InstanceType, ...] = ()
    max_usd_per_hour_micro: int | None = None
    quotas: tuple[Quota, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A session goes to ``place``: a claim name, or the ``key`` of a PlannedClaim of the plan."""

    session: str
    place: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedClaim:
    """A node to be launched, with every offering that would hold its sessions, cheapest first.

    ``layout`` is what its GPUs are to be divided into (layouts.py), whichever it will be; ``terms``
    is what else its launch asks.
    """

    key: str
    offerings: tuple[Offering, ...]
    sessions: tuple[str, ...]
    layout: str = ""
    terms: LaunchTerms = LaunchTerms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a session has no place: ``reason`` for programs, ``message`` for people.

    ``temporary`` says whether waiting may help. ``excluded`` counts how many offerings each
    requirement removed, in the order they were applied.
    """

    session: str
    reason: str
    message: str
    temporary: bool
    excluded: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do: placements, nodes to launch, refusals; prices of the *new* nodes only.

    ``extra_usd_per_hour_micro`` are root disks and what interruptions are expected to cost; the
    bound is of both together.
    No plan for the same sessions costs less than the lower bound; ``proven`` says that this one
    costs no more. ``notes`` are for an admin: where the planner could not do what it should.
    """

    placements: tuple[Placement, ...] = ()
    claims: tuple[PlannedClaim, ...] = ()
    refused: tuple[Refusal, ...] = ()
    usd_per_hour_micro: int = 0
    extra_usd_per_hour_micro: int = 0
    lower_bound_usd_per_hour_micro: int = 0
    patterns: tuple[Any, ...] = ()
    proven: bool = False
    notes: tuple[str, ...] = ()

    @property
    def cost_usd_per_hour_micro(self) -> int:
        """What the plan costs in all: the figure that is bounded."""
        return self.usd_per_hour_micro + self.extra_usd_per_hour_micro

    @property
    def gap(self) -> float:
        """By what part of the lower bound the plan may be too dear; infinite without a bound."""
        over = self.cost_usd_per_hour_micro - self.lower_bound_usd_per_hour_micro
        if over <= 0:
            return 0.0
        bound = self.lower_bound_usd_per_hour_micro
        return over / bound if bound else float("inf")
