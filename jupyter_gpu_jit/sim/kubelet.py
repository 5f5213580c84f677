"""A simulated node: registers late, reports GPUs later still, and runs the pods bound to it.

Started by the world for each instance that begins to run, cancelled when the instance ends.
It speaks to the cluster through the Cluster port only, in the order and words of a real
kubelet, so that whatever reads Events and container states cannot tell the difference.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from ..core import wire
from ..core.layouts import units
from ..core.model import InstanceType, Offering, Resources
from ..core.nodes import node_labels, node_taints
from ..core.quantity import format_bytes, format_cpu, format_time, parse_time
from ..core.requirements import CapacityType
from ..errors import AlreadyExists, Conflict, Expired, NotFound
from ..ports import EVENTS, NODES, PODS, Clock, Cluster, Ids, Instance, Json
from .boot import BootModel, Delay
from .podstatus import admission_failed, ready, running, terminated, waiting
from .tasks import Tasks

CACHED_PULL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTimes:
    """How long a container takes: ``pull`` of an image new to the node, ``start`` to Ready,
    ``stop`` after SIGTERM."""

    pull: Delay = field(default=Delay(6.0, 0.3))
    start: Delay = field(default=Delay(4.0, 0.3))
    stop: Delay = field(default=Delay(0.5, 0.3))

    @classmethod
    def demo(cls) -> PodTimes:
        """Quick, for people who watch."""
        return cls(pull=Delay(1.5), start=Delay(1.5), stop=Delay(0.3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a node misbehaves. ``gpus`` None: as many as its type and layout have.

    ``admission_failures``: that many pods, the first ones, fail on admission. ``stubborn``:
    containers ignore SIGTERM until their grace is over.
    """

    joins: bool = True
    join_delay_seconds: float = 0.0
    gpus: int | None = None
    admission_failures: int = 0
    stubborn: bool = False

    @property
    def faulty(self) -> bool:
        """Whether a session may need another node or another pod because of it."""
        late = self.join_delay_seconds > 0
        return not self.joins or late or self.gpus is not None or self.admission_failures > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What a kubelet knows of itself when it starts."""

    instance: Instance
    instance_type: InstanceType
    boot: BootModel = field(default_factory=BootModel)
    times: PodTimes = field(default_factory=PodTimes)
    habits: Habits = field(default_factory=Habits)

    @property
    def name(self) -> str:
        """The node's name in EC2's style, made from the instance id."""
        a, b, c = hashlib.sha256(self.instance.id.encode()).digest()[:3]
        return f"ip-10-{a}-{b}-{c}.ec2.internal"

    @property
    def layout(self) -> str:
        """What its GPUs were divided into at launch."""
        return self.instance.tags.get(wire.LAYOUT_TAG, "")

    @property
    def gpus(self) -> int:
        """How many its device plugin finds."""
        return units(self.instance_type, self.layout)


@dataclass(slots=True)
class _Pod:
    """A pod this kubelet has taken: the newest object seen, and what is being done about it."""

    seen: Json
    work: asyncio.Task[None]
    ending: bool = False
    started: bool = False


class Kubelet:
    """One node; ``run`` lives as long as the instance does."""

    def __init__(
        self, cluster: Cluster, clock: Clock, ids: Ids, rng: random.Random, *, spec: NodeSpec
    ) -> None:
        self.spec = spec
        self._cluster, self._clock, self._ids, self._rng = cluster, clock, ids, rng
        self._pods: dict[str, _Pod] = {}
        self._images: set[str] = set()
        self._refusals_left = spec.habits.admission_failures
        self._tasks = Tasks()

    async def run(self) -> None:
        """Boot the node's software, register, report, run pods; until cancelled."""
        try:
            await self._join()
            self._tasks.start(self._report(), f"report {self.spec.name}")
            await self._follow_pods()
        finally:
            await self._tasks.close()

    # --- the node ----------------------------------------------------------------------------

    async def _join(self) -> None:
        await self._wait(self.spec.boot.register)
        await self._clock.sleep(self.spec.habits.join_delay_seconds)
        if not self.spec.habits.joins:
            await asyncio.Event().wait()
        await self._register()

    async def _register(self) -> None:
        """Create the Node; one of the same name but another machine is waited out."""
        while True:
            try:
                await self._cluster.create(NODES, node_json(self.spec, self._clock.now()))
                return
            except AlreadyExists:
                await self._clock.sleep(10.0)

    async def _report(self) -> None:
        await self._wait(self.spec.boot.ready)
        await self._patch_node({"conditions": [_node_ready(self._clock.now(), True)]})
        gpus = self._gpus
        if gpus:
            await self._wait(self.spec.boot.gpus)
            count = {wire.GPU_RESOURCE: str(gpus)}
            await self._patch_node({"capacity": count, "allocatable": count})

    @property
    def _gpus(self) -> int:
        habit = self.spec.habits.gpus
        return self.spec.gpus if habit is None else habit

    async def _patch_node(self, status: Json) -> None:
        try:
            await self._cluster.patch(
                NODES, self.spec.name, {"status": status}, subresource="status"
            )
        except NotFound:
            return

    # --- its pods ----------------------------------------------------------------------------

    async def _follow_pods(self) -> None:
        mine = f"spec.nodeName={self.spec.name}"
        while True:
            listing = await self._cluster.list(PODS, field_selector=mine)
            present = {pod["metadata"]["uid"] for pod in listing.items}
            for uid in [uid for uid in self._pods if uid not in present]:
                self._drop(uid)
            for pod in listing.items:
                self._take(pod)
            try:
                await self._watch_pods(mine, listing.resource_version)
            except Expired:
                continue

    async def _watch_pods(self, selector: str, version: str) -> None:
        events = self._cluster.watch(PODS, resource_version=version, field_selector=selector)
        async for event in events:
            if event.type == "DELETED":
                self._drop(event.object["metadata"]["uid"])
            elif event.type != "BOOKMARK":
                self._take(event.object)

    def _drop(self, uid: str) -> None:
        known = self._pods.pop(uid, None)
        if known is not None:
            known.work.cancel()

    def _take(self, pod: Json) -> None:
        """Start a pod that is new, end one that is to be deleted."""
        meta = pod["metadata"]
        known = self._pods.get(meta["uid"])
        if known is None:
            if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                return
            work = self._tasks.start(
                self._guarded(partial(self._start, pod)), f"run {meta['name']}"
            )
            known = self._pods[meta["uid"]] = _Pod(pod, work)
        known.seen = pod
        if "deletionTimestamp" in meta and not known.ending:
            known.ending = True
            known.work.cancel()
            known.work = self._tasks.start(
                self._guarded(partial(self._end, known)), f"end {meta['name']}"
            )

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """A pod that is gone, or replaced by one of the same name, is no longer our business."""
        try:
            await work()
        except (NotFound, Conflict):
            return

    async def _start(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if not self._admits(pod):
            await self._status(uid, admission_failed())
            return
        await self._status(uid, waiting(pod, now=self._clock.now()))
        await self._pull(pod)
        await self._event(pod, "Created", "Created container notebook")
        await self._event(pod, "Started", "Started container notebook")
        self._pods[uid].started = True
        address = f"10.1.{self._rng.randrange(256)}.{self._rng.randrange(1, 255)}"
        await self._status(uid, running(pod, now=self._clock.now(), address=address))
        await self._wait(self.spec.times.start)
        await self._status(uid, ready(self._pods[uid].seen, now=self._clock.now()))

    def _admits(self, pod: Json) -> bool:
        """The device manager's word: enough GPUs, and no planted refusal."""
        if self._refusals_left > 0:
            self._refusals_left -= 1
            return False
        held = [known.seen for uid, known in self._pods.items() if uid != pod["metadata"]["uid"]]
        taken = sum(_gpus_of(other) for other in held if not _finished(other))
        return taken + _gpus_of(pod) <= self._gpus

    async def _pull(self, pod: Json) -> None:
        image = pod["spec"]["containers"][0]["image"]
        await self._event(pod, "Pulling", f'Pulling image "{image}"')
        if image in self._images:
            await self._clock.sleep(CACHED_PULL_SECONDS)
        else:
            await self._wait(self.spec.times.pull)
        self._images.add(image)
        await self._event(pod, "Pulled", f'Successfully pulled image "{image}"')

    async def _end(self, known: _Pod) -> None:
        """SIGTERM, then SIGKILL when the grace is over, then the object goes."""
        meta = known.seen["metadata"]
        if known.started:
            await self._event(known.seen, "Killing", "Stopping container notebook")
            await self._clock.sleep(self._stop_seconds(meta))
        await self._status(meta["uid"], terminated(known.seen, now=self._clock.now()))
        await self._cluster.delete(
            PODS,
            meta["name"],
            namespace=meta["namespace"],
            uid=meta["uid"],
            grace_seconds=0,
        )

    def _stop_seconds(self, meta: Json) -> float:
        left = max(0.0, parse_time(meta["deletionTimestamp"]) - self._clock.now())
        if self.spec.habits.stubborn:
            return left
        return min(left, self.spec.times.stop.draw(self._rng))

    async def _status(self, uid: str, status: Json) -> None:
        """Write the pod's status; the uid is a precondition."""
        meta = self._pods[uid].seen["metadata"]
        stored = await self._cluster.patch(
            PODS,
            meta["name"],
            {"metadata": {"uid": uid}, "status": status},
            namespace=meta["namespace"],
            subresource="status",
        )
        if uid in self._pods and not self._pods[uid].ending:
            self._pods[uid].seen = stored

    async def _event(self, pod: Json, reason: str, message: str) -> None:
        meta, now = pod["metadata"], _whole_seconds(self._clock.now())
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name']}.{self._ids.new('kubelet')}",
                "namespace": meta["namespace"],
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "fieldPath": "spec.containers{notebook}",
            },
            "reason": reason,
            "message": message,
            "type": "Normal",
            "source": {"component": "kubelet", "host": self.spec.name},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "eventTime": None,
            "count": 1,
        }
        await self._cluster.create(EVENTS, body, namespace=meta["namespace"])

    async def _wait(self, delay: Delay) -> None:
        await self._clock.sleep(delay.draw(self._rng))


def _gpus_of(pod: Json) -> int:
    return wire.pod_resources(pod["spec"]).gpus


def _finished(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _whole_seconds(now: float) -> str:
    """The form of ``metav1.Time``, which has no fraction."""
    return format_time(now)[:19] + "Z"


def node_json(spec: NodeSpec, now: float) -> Json:
    """The Node as a kubelet registers it: tainted, not Ready, without GPUs."""
    instance, kind = spec.instance, spec.instance_type
    amounts = _amounts(kind.allocatable)
    taints = (wire.UNREGISTERED_TAINT, *node_taints())
    offering = Offering(
        instance_type=kind.name,
        zone=instance.zone,
        capacity_type=CapacityType(instance.capacity_type),
        usd_per_hour_micro=instance.usd_per_hour_micro,
    )
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": spec.name,
            "labels": {
                "kubernetes.io/hostname": spec.name,
                **node_labels(kind, offering, spec.layout),
            },
        },
        "spec": {
            "providerID": instance.provider_id,
            "taints": [wire.taint_json(taint) for taint in taints],
        },
        "status": {
            "capacity": dict(amounts),
            "allocatable": dict(amounts),
            "conditions": [_node_ready(now, False)],
        },
    }


def _amounts(resources: Resources) -> dict[str, str]:
    return {
        "cpu": format_cpu(resources.cpu_millicpu),
        "memory": format_bytes(resources.memory_bytes),
        "pods": str(resources.pods),
    }


def _node_ready(now: float, is_ready: bool) -> Json:
    return {
        "type": "Ready",
        "status": "True" if is_ready else "False",
        "reason": "KubeletReady" if is_ready else "KubeletNotReady",
        "message": "kubelet is posting ready status" if is_ready else "container runtime not ready",
        "lastTransitionTime": _whole_seconds(now),
        "lastHeartbeatTime": _whole_seconds(now),
    }
