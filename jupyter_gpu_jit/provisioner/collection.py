"""The second net: what a crash forgot is found by tag and ended; what vanished is let go.

Runs every half minute from runtime.py. Looks at instances first and then at claims as the API
server has them now, so that a claim can only be newer than the instances it is compared with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from ..core import wire
from ..core.model import NodeClaim
from ..errors import Conflict, NotFound
from ..ports import CLAIMS, NODES, Clock, Cloud, Cluster, Instance, Meter
from . import metrics
from .claims import ClaimWriter
from .settings import Settings
from .state import ClusterState

log = logging.getLogger(__name__)


class Collection:
    """Compares the cloud with the claims, by provider id and batch, never by name."""

    def __init__(
        self,
        cluster: Cluster,
        cloud: Cloud,
        clock: Clock,
        *,
        state: ClusterState,
        claims: ClaimWriter,
        meter: Meter,
        settings: Settings,
    ) -> None:
        self._meter = meter
        self._cluster = cluster
        self._cloud = cloud
        self._clock = clock
        self._state = state
        self._claims = claims
        self._settings = settings
        self._missing: set[str] = set()

    async def collect(self) -> None:
        """One round. Raises TransientError."""
        await self._state.settle()
        instances = list(await self._cloud.instances())
        listing = await self._cluster.list(CLAIMS, label_selector=self._settings.own_selector)
        claims = [wire.read_claim(self._state.observe(CLAIMS, c)) for c in listing.items]
        await self._end_orphans(instances, claims)
        await self._end_bereaved(instances, claims)
        await self._remove_ghosts(instances, claims)

    async def _end_orphans(
        self, instances: Iterable[Instance], claims: Sequence[NodeClaim]
    ) -> None:
        """Instances that no claim has and none can still be given."""
        owned = {claim.provider_id for claim in claims}
        pending = {claim.batch.id for claim in claims if not claim.provider_id}
        orphans = [
            instance.id
            for instance in instances
            if self._is_ours(instance)
            and instance.state in ("pending", "running")
            and instance.provider_id not in owned
            and instance.tags.get(wire.BATCH_TAG) not in pending
            and self._clock.now() - instance.launched_at > self._settings.orphan_grace_seconds
        ]
        if orphans:
            self._state.check_settled()
            log.warning("orphans ended", extra={"instances": orphans, "reason": "Orphan"})
            await self._cloud.terminate(orphans)
            self._meter.count(metrics.LEAKS_ENDED, len(orphans), what="instance")

    def _is_ours(self, instance: Instance) -> bool:
        return (
            instance.tags.get(wire.CLUSTER_TAG) == self._settings.cluster_id
            and instance.tags.get(wire.HUB_TAG) == self._settings.hub_id
        )

    async def _end_bereaved(
        self, instances: Iterable[Instance], claims: Iterable[NodeClaim]
    ) -> None:
        """Claims whose instance was missing or over in two rounds: one look may lag."""
        states = {i.provider_id: i.state for i in instances}
        missing = {
            claim.name: claim
            for claim in claims
            if claim.provider_id and not claim.deleting and not self._lives(claim, states)
        }
        for name, claim in missing.items():
            launched = claim.condition(wire.LAUNCHED)
            age = self._clock.now() - (launched.since if launched else claim.created_at)
            if name in self._missing and age > self._settings.orphan_grace_seconds:
                await self._delete(claim)
        self._missing = set(missing)

    def _lives(self, claim: NodeClaim, states: Mapping[str, str]) -> bool:
        """Whether the cloud has the instance, or leaves it out although its node is alive."""
        state = states.get(claim.provider_id)
        if state is not None:
            return state in ("pending", "running")
        node = self._state.node_of(claim)
        return node is not None and node.ready

    async def _delete(self, claim: NodeClaim) -> None:
        try:
            await self._claims.delete(claim, "InstanceGone")
            self._meter.count(metrics.LEAKS_ENDED, what="claim")
        except Conflict:
            log.info("claim changed meanwhile", extra={"claim": claim.name})

    async def _remove_ghosts(
        self, instances: Iterable[Instance], claims: Iterable[NodeClaim]
    ) -> None:
        """Nodes whose claim and instance are both gone, also those that joined when it was over."""
        names = {claim.name for claim in claims}
        owned = {claim.provider_id for claim in claims}
        over = {i.provider_id for i in instances if self._is_ours(i) and i.state == "terminated"}
        alive = {i.provider_id for i in instances} - over
        for node in list(self._state.nodes):
            forgotten = node.claim and node.claim not in names and node.provider_id not in alive
            belated = not node.claim and node.provider_id in over - owned
            if forgotten or belated:
                self._state.check_settled()
                try:
                    await self._cluster.delete(
                        NODES, node.name, resource_version=node.resource_version
                    )
                except (NotFound, Conflict):
                    continue
                self._meter.count(metrics.LEAKS_ENDED, what="node")
