"""Puts the provisioner together and runs it: one loop of passes, and a task per claim beside it.

Everything it knows comes from the API server and the cloud, so it may be stopped at any point.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ..core import wire
from ..core.model import LaunchBatch, NodeClaim
from ..errors import Rejected, TransientError
from ..ports import Clock, Cloud, Cluster, Ids, Meter, Notices
from . import gauges, topology
from .claims import ClaimWriter
from .collection import Collection
from .doubt import DoubtingCluster
from .gauges import Gauges
from .interruption import Interruption
from .launching import Launching
from .leader import Leader
from .lifecycle import Lifecycle
from .listening import Listening
from .metrics import Silent
from .patience import PatientCloud
from .provisioning import Provisioning
from .settings import Settings
from .state import ClusterState
from .status import StatusWriter
from .stuck import Stuck
from .tasks import KeyedTasks
from .topology import Topology

log = logging.getLogger(__name__)
__all__ = ["Provisioner", "Settings"]


class Alarm:
    """Rings when something changed or when the earliest of the asked times has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stir = asyncio.Event()
        self._rung = False
        self._at: float | None = None

    def ring(self) -> None:
        """Something changed."""
        self._rung = True
        self._stir.set()

    def ring_at(self, when: float) -> None:
        """Ring at that epoch time, or before."""
        if self._at is None or when < self._at:
            self._at = when
            self._stir.set()

    async def wait(self) -> None:
        """Until it rings."""
        while not self._rung:
            self._stir.clear()
            try:
                # Not wait_for: before Python 3.12 it can swallow a cancellation.
                async with asyncio.timeout(self._timeout()):
                    await self._stir.wait()
            except TimeoutError:
                # Not compared with the clock again: a timer may fire a hair before its time.
                self._at = None
                break
        self._rung = False

    def _timeout(self) -> float | None:
        return None if self._at is None else max(0.0, self._at - self._clock.now())


class Provisioner:
    """The provisioner as a whole: ``run`` until cancelled; a new one may take over at any point."""

    def __init__(
        self,
        cluster: Cluster,
        cloud: Cloud,
        clock: Clock,
        *,
        ids: Ids,
        settings: Settings,
        notices: Notices | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._notices = notices
        self._meter = meter or Silent()
        self._cluster = cluster
        self._cloud = cloud
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._leader = Leader(cluster, clock, settings)

    async def run(self) -> None:
        """Lead when it is our turn, and provision while leading."""
        await self._leader.run(self._lead)

    async def resign(self) -> None:
        """After ``run`` was cancelled on purpose: let the next leader start at once."""
        await self._leader.release()

    async def _lead(self) -> None:
        # Each term starts from nothing: what the last one believed may be long out of date.
        alarm = Alarm(self._clock)
        async with asyncio.TaskGroup() as group:
            tasks = KeyedTasks(group, self._clock, wake_at=alarm.ring_at)
            parts = _Parts(
                self._cluster, self._cloud, self._clock,
                ids=self._ids, settings=self._settings, changed=alarm.ring, tasks=tasks,
                not_before=self._leader.version, meter=self._meter,
            )  # fmt: skip
            parts.state.recall_dry(self._leader.told.get(wire.DRY_ANNOTATION, ""))
            self._leader.tell = lambda: {wire.DRY_ANNOTATION: parts.state.dry_text()}
            group.create_task(parts.state.run(), name="state")
            await parts.state.wait_synced()
            group.create_task(self._passes(parts, alarm), name="passes")
            every = self._settings.collect_interval_seconds
            looks = (("collection", every, parts.collection.collect),
                     ("gauges", gauges.LOOK_SECONDS, parts.gauges.look),
                     ("topology", topology.LOOK_SECONDS, parts.topology.look))  # fmt: skip
            for name, seconds, look in looks:
                group.create_task(self._regularly(name, seconds, look), name=name)
            if self._notices is not None:
                ears = Listening(self._notices, self._clock, hear=parts.interruption.hear)
                group.create_task(ears.run(), name="notices")

    async def _passes(self, parts: _Parts, alarm: Alarm) -> None:
        backoff = 0.5
        while True:
            try:
                for again_at in await self._pass(parts):
                    alarm.ring_at(again_at)
                backoff = 0.5
            except (TransientError, Rejected) as error:
                log.warning("pass put off", extra={"reason": error.reason})
                await self._clock.sleep(backoff)
                backoff = min(2 * backoff, 15.0)
                continue
            await alarm.wait()

    async def _pass(self, parts: _Parts) -> list[float]:
        """One pass over everything; the times at which to look again though nothing changed."""
        await parts.state.settle()
        parts.interruption.remember()
        parts.start_claims()
        times = [
            await parts.provisioning.pass_once(),
            parts.provisioning.settle(),
            await parts.stuck.look(),
            parts.state.next_wet_at(),
        ]
        return [time for time in times if time is not None]

    async def _regularly(
        self, name: str, seconds: float, look: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            await self._clock.sleep(seconds)
            try:
                await look()
            except (TransientError, Rejected) as error:
                log.warning("look put off", extra={"look": name, "reason": error.reason})


class _Parts:
    """All parts of one term as leader."""

    def __init__(
        self,
        cluster: Cluster,
        cloud: Cloud,
        clock: Clock,
        *,
        ids: Ids,
        settings: Settings,
        changed: Callable[[], None],
        tasks: KeyedTasks,
        not_before: int,
        meter: Meter,
    ) -> None:
        self._tasks = tasks
        self._rules = settings.interruption
        shared: dict[str, Any] = {"settings": settings}
        cloud = PatientCloud(cloud, clock, back=tasks.hurry)
        self.state = ClusterState(
            cluster, cloud, clock, settings=settings, changed=changed, not_before=not_before
        )
        shared["state"] = self.state
        metered = {**shared, "meter": meter}
        cluster = DoubtingCluster(cluster, self.state.doubt)
        writer = ClaimWriter(cluster, clock, state=self.state)
        status = StatusWriter(cluster, clock, ids, tasks=tasks, **metered)
        self.provisioning = Provisioning(cluster, clock, ids, status=status, **metered)
        self.launching = Launching(cloud, clock, claims=writer, **metered)
        self.lifecycle = Lifecycle(cluster, cloud, clock, claims=writer, **metered)
        self.collection = Collection(cluster, cloud, clock, claims=writer, **metered)
        self.gauges = Gauges(clock, state=self.state, meter=meter)
        self.topology = Topology(cloud, state=self.state, claims=writer)
        self.stuck = Stuck(cluster, clock, **shared)
        self.interruption = Interruption(
            cluster, clock, claims=writer, status=status, stuck=self.stuck, **metered
        )

    def start_claims(self) -> None:
        """Start whatever each claim is due; keys that are busy stay as they are."""
        batches: dict[str, LaunchBatch] = {}
        for claim in self.state.claims:
            launched = claim.condition(wire.LAUNCHED)
            if launched is None or launched.status is None:
                batches[claim.batch.id] = claim.batch
            else:
                self._tasks.start(f"claim {claim.name}", partial(self._advance, claim.name))
        for batch in batches.values():
            if batch.id not in self.state.writing:
                self._tasks.start(f"batch {batch.id}", partial(self._launch, batch))

    async def _launch(self, batch: LaunchBatch) -> float | None:
        await self.launching.carry_out(batch)
        return None

    async def _advance(self, name: str) -> float | None:
        claim: NodeClaim | None = self.state.claims.get(name)
        if claim is None:
            return None
        if not claim.deleting and claim.is_true(wire.LAUNCHED):
            claim = await self.interruption.keep(claim)
            if self._rules.empties(claim):
                return await self.interruption.advance(claim)
        return await self.lifecycle.advance(claim)
