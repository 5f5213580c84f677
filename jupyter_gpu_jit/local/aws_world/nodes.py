"""The node's own side: instances of the world become Nodes of a cluster, as kubelets would.

Runs beside the cluster (tests, bench, demo), not in the world: it follows the world's control
endpoint. The world says when a node registers, gets ready and shows its GPUs; the user data says
with which labels and taints, or that it cannot join at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from ...catalogue import instance_types
from ...core import wire
from ...core.model import InstanceType
from ...core.quantity import format_time
from ...errors import AlreadyExists, NotFound, Unavailable
from ...ports import NODES, Clock, Cluster, Instance
from ...sim.cloud import Hooks
from ...sim.kubelet import NodeSpec, node_json
from ..kwok import ANNOTATION
from ..threads import in_thread
from .handle import WorldControl
from .user_data import read

Json = dict[str, Any]
POLL_SECONDS = 0.2
PHASES = ("", "registered", "ready", "gpus")


class WorldFeed:
    """Instances of a world that changed since they were last asked for."""

    def __init__(self, control: WorldControl) -> None:
        self._control = control
        self._version, self._epoch = 0, 0

    async def changes(self) -> list[Json]:
        """Rows of ``GET instances``, oldest launch first. Raises Unavailable, Defect."""
        after, epoch = self._version, self._epoch
        try:
            # After a reset all is new again; the world compares the epochs.
            found = await in_thread(
                lambda: self._control.get("instances", after=after, epoch=epoch)
            )
        except OSError as error:
            raise Unavailable("The AWS world does not answer.") from error
        self._version, self._epoch = found["version"], found["epoch"]
        rows: list[Json] = found["instances"]
        return rows


@lru_cache(maxsize=1)
def types_by_name() -> dict[str, InstanceType]:
    """The packaged catalogue."""
    return {kind.name: kind for kind in instance_types()}


def instance_of(row: Json) -> Instance:
    """A row of the world as the ports know instances."""
    return Instance(
        id=row["id"],
        provider_id=row["provider_id"],
        instance_type=row["type"],
        zone=row["zone"],
        capacity_type=row["capacity_type"],
        state=row["state"],
        launched_at=row["launched_at"],
        usd_per_hour_micro=row["usd_per_hour_micro"],
        tags=row["tags"],
    )


class WorldNodes:
    """Gives the instances of a world their nodes, through ``cluster`` (an admin's).

    ``kwok``: KWOK keeps them alive and runs their pods; without it they are made Ready here.
    """

    def __init__(
        self, control: WorldControl, cluster: Cluster, clock: Clock, *, kwok: bool = True
    ) -> None:
        self._feed = WorldFeed(control)
        self._cluster, self._clock, self._kwok = cluster, clock, kwok
        self._waiting: dict[str, Json] = {}
        self._reached: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        """Instance id: why its node cannot join."""

    async def run(self) -> None:
        """Follow the world until cancelled."""
        while True:
            with contextlib.suppress(Unavailable):
                await self.step()
            await self._clock.sleep(POLL_SECONDS)

    async def step(self) -> None:
        """Bring the cluster to where the world is now. Raises Unavailable."""
        for row in await self._feed.changes():
            self._waiting[row["id"]] = row
        rows = list(self._waiting.values())
        done = await asyncio.gather(*(self._apply(row) for row in rows))
        for row, settled in zip(rows, done, strict=True):
            if settled and self._waiting.get(row["id"]) is row:
                del self._waiting[row["id"]]

    async def _apply(self, row: Json) -> bool:
        """Whether this row needs no more work."""
        if row["state"] == "terminated":
            return await self._leave(row)
        for phase in self._phases_to(row):
            if not await self._enter(row, phase):
                return False
            self._reached[row["id"]] = phase
        return True

    def _phases_to(self, row: Json) -> Iterable[str]:
        problem = "" if row["node_phase"] == "" else self._problem(row)
        if problem:
            self.problems[row["id"]] = problem
            return ()
        reached = PHASES.index(self._reached.get(row["id"], ""))
        return PHASES[reached + 1 : PHASES.index(row["node_phase"]) + 1]

    def _problem(self, row: Json) -> str:
        if not row["profile"]:
            return "The instance has no instance profile."
        return read(row["user_data"]).problem

    async def _enter(self, row: Json, phase: str) -> bool:
        try:
            if phase == "registered":
                await self._register(row)
            elif phase == "ready":
                await self._become_ready(row)
            else:
                await self._show_gpus(row)
        except AlreadyExists:
            # The address was another machine's, whose node is still there.
            return False
        except NotFound:
            return True
        return True

    async def _register(self, row: Json) -> None:
        joining = read(row["user_data"])
        body = node_json(_spec(row), self._clock.now())
        name = row["private_dns_name"]
        meta = body["metadata"]
        meta["name"] = name
        meta["labels"] = {**_own_labels(row), **joining.labels, "kubernetes.io/hostname": name}
        if self._kwok:
            meta["annotations"] = {ANNOTATION: "fake"}
        body["spec"]["taints"] = list(joining.taints)
        status = body.pop("status")
        await self._cluster.create(NODES, body)
        self.names[row["id"]] = name
        await self._patch(row, status)

    async def _become_ready(self, row: Json) -> None:
        if not self._kwok:
            now = format_time(self._clock.now())[:19] + "Z"
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": now}
            await self._patch(row, {"conditions": [{**condition, "reason": "KubeletReady"}]})

    async def _show_gpus(self, row: Json) -> None:
        count = _spec(row).gpus if row["gpus"] is None else row["gpus"]
        if count:
            gpus = {wire.GPU_RESOURCE: str(count)}
            await self._patch(row, {"capacity": gpus, "allocatable": gpus})

    async def _patch(self, row: Json, status: Json) -> None:
        await self._cluster.patch(
            NODES, self.names[row["id"]], {"status": status}, subresource="status"
        )

    async def _leave(self, row: Json) -> bool:
        """As the cloud's own controller would; usually the provisioner has done it already."""
        name = self.names.pop(row["id"], "")
        if not name:
            return True
        with contextlib.suppress(NotFound):
            there = await self._cluster.get(NODES, name)
            if there["spec"].get("providerID") == row["provider_id"]:
                await self._cluster.delete(NODES, name)
        return True


def _spec(row: Json) -> NodeSpec:
    return NodeSpec(instance=instance_of(row), instance_type=types_by_name()[row["type"]])


def _own_labels(row: Json) -> dict[str, str]:
    """What kubelet and cloud controller know without user data."""
    kind = types_by_name()[row["type"]]
    return {
        wire.ARCH_LABEL: kind.architecture,
        wire.INSTANCE_TYPE_LABEL: kind.name,
        wire.ZONE_LABEL: row["zone"],
        "kubernetes.io/os": "linux",
    }


async def follow(control: WorldControl, hooks: Hooks, clock: Clock) -> None:
    """Call a simulated cloud's hooks for the instances of a world, until cancelled.

    For agents that are nodes themselves and take their own time to join (the demo's).
    """
    feed, running = WorldFeed(control), set[str]()
    while True:
        with contextlib.suppress(Unavailable):
            for row in await feed.changes():
                await _tell(row, hooks, running)
        await clock.sleep(POLL_SECONDS)


async def _tell(row: Json, hooks: Hooks, running: set[str]) -> None:
    if row["state"] == "running" and row["id"] not in running:
        running.add(row["id"])
        await hooks.on_running(instance_of(row))
    elif row["state"] == "terminated" and row["id"] in running:
        running.discard(row["id"])
        await hooks.on_ended(instance_of(row))
