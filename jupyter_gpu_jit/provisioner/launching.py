"""From intent to instance: a launch batch is sent whole, under one client token.

The order that makes a crash harmless: all claims of the batch are written (provisioning.py);
each is marked as being launched; the fleet request is sent; instances are given to claims in
sorted order; the results are written back. Whoever comes after a crash repeats the same
request and gets the same instances.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..core import wire
from ..core.dry import Scope, key_of
from ..core.model import LaunchBatch, NodeClaim, Offering
from ..core.requirements import CapacityType
from ..errors import CapacityError, Rejected, TransientError
from ..ports import (
    Clock,
    Cloud,
    Instance,
    LaunchFailure,
    LaunchRequest,
    LaunchResult,
    Meter,
    PlacementGroup,
)
from . import metrics
from .claims import ClaimWriter
from .settings import Settings
from .state import ClusterState
from .tasks import together

log = logging.getLogger(__name__)
_THROTTLED_SECONDS = 5.0


class Launching:
    """Carries out launch batches."""

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        *,
        state: ClusterState,
        claims: ClaimWriter,
        meter: Meter,
        settings: Settings,
    ) -> None:
        self._meter = meter
        self._overdue: set[str] = set()
        self._cloud = cloud
        self._clock = clock
        self._state = state
        self._claims = claims
        self._settings = settings

    async def carry_out(self, batch: LaunchBatch) -> None:
        """Launch a batch, or give it up if it was never written whole. Raises TransientError."""
        members = [c for name in batch.claims if (c := self._state.claims.get(name))]
        if not any(_undecided(c) for c in members):
            return
        # Launched=False may be our own mark from a giving up that was interrupted half-way.
        started = any(c.condition(wire.LAUNCHED) and not c.is_false(wire.LAUNCHED) for c in members)
        if not started and (len(members) < len(batch.claims) or any(c.deleting for c in members)):
            await self._give_up(members)
            return
        await self._mark_started(members)
        result = await self._outcome(batch, members)
        self._remember(result)
        if _is_throttled(result):
            # Asked too fast. Nothing is left out of the next plan, so that must not be at once.
            await self._clock.sleep(_THROTTLED_SECONDS)
        await self._write_back(batch, result)

    async def _outcome(self, batch: LaunchBatch, members: Sequence[NodeClaim]) -> LaunchResult:
        """What came of the request; after its time, what there is. Raises TransientError."""
        if batch.id in self._overdue:
            result = await self._found(batch, members[0])
            self._overdue.discard(batch.id)
            return result
        try:
            return await self._send(batch, members[0])
        except TransientError:
            if self._is_too_late(members):
                # Looked for a while later: what took effect just now is not listed at once.
                self._overdue.add(batch.id)
            raise

    async def _found(self, batch: LaunchBatch, claim: NodeClaim) -> LaunchResult:
        """What there is of a batch whose request is not answered. Raises TransientError.

        A cloud that is away altogether is waited for: another plan would ask it the same.
        """
        instances = [
            instance
            for instance in await self._cloud.instances()
            if instance.tags.get(wire.BATCH_TAG) == batch.id
            and instance.state in ("pending", "running")
        ]
        complete = len(instances) >= len(batch.claims)
        failures = () if complete else (_no_answer(claim),)
        return LaunchResult(instances=tuple(instances), failures=failures)

    def _is_too_late(self, members: Sequence[NodeClaim]) -> bool:
        """Whether the cloud has had its time to answer: whoever waits is planned anew."""
        asked = (self._state.claims.get(claim.name) for claim in members)
        begun = [c.since for m in asked if m and (c := m.condition(wire.LAUNCHED))]
        limit = self._settings.launch_deadline_seconds
        return bool(begun) and self._clock.now() - min(begun) > limit

    async def _give_up(self, members: Sequence[NodeClaim]) -> None:
        """Nothing was asked of the cloud yet: drop the fragments, and plan again."""
        for claim in members:
            failed = self._claims.condition(
                wire.LAUNCHED, False, reason="NotStarted", message="The launch was called off."
            )
            claim = await self._claims.set_status(claim, {}, failed)
            if not claim.deleting:
                await self._claims.delete(claim, "NotStarted")

    async def _mark_started(self, members: Sequence[NodeClaim]) -> None:
        asked = self._claims.condition(wire.LAUNCHED, None, reason="Launching")
        await together(
            self._claims.set_status(claim, {}, asked)
            for claim in members
            if claim.condition(wire.LAUNCHED) is None
        )

    async def _send(self, batch: LaunchBatch, claim: NodeClaim) -> LaunchResult:
        request = LaunchRequest(
            client_token=batch.client_token,
            offerings=claim.offerings,
            count=len(batch.claims),
            at_least=claim.terms.at_least(len(batch.claims)),
            layout=claim.layout,
            placement_group=_placement_group(claim),
            efa=claim.terms.efa,
            tags={
                wire.CLUSTER_TAG: claim.cluster_id,
                wire.HUB_TAG: claim.hub_id,
                wire.BATCH_TAG: batch.id,
                **({wire.LAYOUT_TAG: claim.layout} if claim.layout else {}),
            },
        )
        try:
            return await self._cloud.launch(request)
        except (CapacityError, Rejected) as error:
            log.warning("launch refused", extra={"claim": claim.name, "reason": error.reason})
            self._state.mark_dry(claim.offerings, error.reason)
            self._count(claim.offerings[0].capacity_type.value, "failed", error.reason)
            if isinstance(error, Rejected):
                self._state.note_trouble(f"The cloud refused to launch: {error.user_message}")
            return LaunchResult(instances=())

    def _remember(self, result: LaunchResult) -> None:
        """What was launched is to be had, what was refused is not; told in this order."""
        for instance in result.instances:
            self._state.mark_wet(_sold(instance))
            self._count(instance.capacity_type, "launched", "")
        for failure in result.failures:
            self._state.mark_dry([failure.offering], failure.code)
            sold = failure.offering.capacity_type.value
            self._count(sold, "failed", failure.code)
            self._count_ice(failure)

    def _count(self, capacity_type: str, outcome: str, code: str) -> None:
        code = metrics.known(metrics.LAUNCHES, "code", code)
        self._meter.count(metrics.LAUNCHES, capacity_type=capacity_type, outcome=outcome, code=code)

    def _count_ice(self, failure: LaunchFailure) -> None:
        key = key_of(failure.offering, failure.code)
        if key is not None and key.scope is Scope.POOL:
            self._meter.count(
                metrics.ICE,
                capacity_type=key.capacity_type,
                instance_type=key.name,
                zone=key.zone,
            )

    async def _write_back(self, batch: LaunchBatch, result: LaunchResult) -> None:
        instances = sorted(result.instances, key=lambda i: i.id)
        given: dict[str, Instance] = dict(zip(batch.claims, instances, strict=False))
        claims = [c for name in batch.claims if (c := self._state.claims.get(name))]
        await together(
            self._record(claim, given[claim.name])
            if claim.name in given
            else self._record_failure(claim, result)
            for claim in claims
            if _undecided(claim)
        )

    async def _record(self, claim: NodeClaim, instance: Instance) -> None:
        fields = {
            "providerID": instance.provider_id,
            "instanceType": instance.instance_type,
            "zone": instance.zone,
            "capacityType": instance.capacity_type,
            "microUSDPerHour": instance.usd_per_hour_micro,
        }
        launched = self._claims.condition(wire.LAUNCHED, True, reason="Launched")
        await self._claims.set_status(claim, fields, launched)
        log.info("instance launched", extra={"claim": claim.name, "instance": instance.id})

    async def _record_failure(self, claim: NodeClaim, result: LaunchResult) -> None:
        reason = result.failures[0].code if result.failures else "InsufficientCapacity"
        message = "; ".join(f.message for f in result.failures[:3])
        failed = self._claims.condition(wire.LAUNCHED, False, reason=reason, message=message)
        claim = await self._claims.set_status(claim, {}, failed)
        if not claim.deleting:
            await self._claims.delete(claim, reason)


def _placement_group(claim: NodeClaim) -> PlacementGroup | None:
    name, strategy = claim.terms.placement_group, claim.terms.placement_strategy
    return PlacementGroup(name=name, strategy=strategy) if name else None


def _is_throttled(result: LaunchResult) -> bool:
    """Whether the cloud gave nothing and said nothing of what it has."""
    said = [key_of(failure.offering, failure.code) for failure in result.failures]
    return not result.instances and bool(said) and not any(said)


def _no_answer(claim: NodeClaim) -> LaunchFailure:
    return LaunchFailure(
        offering=claim.offerings[0],
        code="LaunchTooLong",
        message="The cloud did not answer in time.",
    )


def _sold(instance: Instance) -> Offering:
    return Offering(
        instance_type=instance.instance_type,
        zone=instance.zone,
        capacity_type=CapacityType(instance.capacity_type),
        usd_per_hour_micro=instance.usd_per_hour_micro,
    )


def _undecided(claim: NodeClaim) -> bool:
    """Whether it is still unknown if this claim has an instance."""
    launched = claim.condition(wire.LAUNCHED)
    return launched is None or launched.status is None
