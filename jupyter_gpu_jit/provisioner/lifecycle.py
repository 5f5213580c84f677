"""The life of one claim after its intent: launched, registered, initialised, emptied, ended.

Level-triggered: ``advance`` looks at a claim as it is and takes the one step that is due, so
it does not matter what was done before a crash, or by whom.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from ..core import wire
from ..core.layouts import units
from ..core.model import Node, NodeClaim, Offering
from ..core.quantity import format_time
from ..core.requirements import CapacityType
from ..errors import NotFound
from ..ports import NODES, PODS, Clock, Cloud, Cluster, Meter
from . import metrics
from .claims import ClaimWriter
from .detaching import Detaching
from .settings import Settings
from .state import ClusterState

log = logging.getLogger(__name__)
# How long to wait before looking again whether an instance is gone: most take long, some do not.
# The node controller takes its taint off a node that is Ready, at 20 writes a second for a whole
# cluster by default: when many nodes come at once, the later ones wait for seconds.
_NOT_READY = "node.kubernetes.io/not-ready"
_CONTROLLER_SECONDS = 0.05
_POLL_ENDING_SECONDS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)


class Lifecycle:
    """Takes claims from Launched to gone, one step at a time."""

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
        self._detaching = Detaching(cluster, clock, claims=claims, settings=settings)
        self._poll_at: dict[str, float] = {}
        self._polls: dict[str, int] = {}
        self._asked: set[str] = set()
        self._works_since: dict[str, float] = {}

    async def advance(self, claim: NodeClaim) -> float | None:
        """One step; epoch seconds of the next deadline, or None. Raises TransientError."""
        if claim.deleting:
            return await self._end(claim)
        if not claim.is_true(wire.LAUNCHED):
            # It failed, whoever waits for it: what was written down ends even if its end was not.
            await self._claims.delete(claim, "NotLaunched")
            return None
        if not claim.is_true(wire.REGISTERED):
            return await self._register(claim)
        if not claim.is_true(wire.INITIALISED):
            return await self._initialise(claim)
        return await self._look_after_empty(claim)

    # --- joining ------------------------------------------------------------------------------

    async def _register(self, claim: NodeClaim) -> float | None:
        node = self._state.node_of(claim)
        if node is None:
            return await self._within(
                claim, wire.LAUNCHED, self._settings.registration_deadline_seconds
            )
        node = await self._adopt(node, claim)
        joined = [self._claims.condition(wire.REGISTERED, True, reason="Registered")]
        if self._usable(node, claim):
            joined.append(self._claims.condition(wire.INITIALISED, True, reason="Initialised"))
        await self._claims.set_status(claim, {"nodeName": node.name}, *joined)
        self._meter.count(metrics.NODES_CREATED, capacity_type=claim.capacity_type)
        log.info("node registered", extra={"claim": claim.name, "node": node.name})
        return None

    async def _adopt(self, node: Node, claim: NodeClaim) -> Node:
        """Pin label on, entry taint off, and the standing taints on whatever the node brought."""
        keep = [t for t in node.taints if t.key != wire.UNREGISTERED_TAINT.key]
        standing = [wire.GPU_TAINT] if self._has_gpus(claim) else []
        keep += [t for t in (*standing, wire.USER_TAINT) if t not in keep]
        patch: dict[str, Any] = {
            "metadata": {
                "labels": {
                    wire.PIN_LABEL: claim.name,
                    wire.PURPOSE_LABEL: "user",
                    wire.CAPACITY_LABEL: claim.capacity_type,
                }
            },
            "spec": {"taints": [wire.taint_json(t) for t in keep]},
        }
        return await self._claims.patch_node(node, patch)

    def _has_gpus(self, claim: NodeClaim) -> bool:
        known = self._state.instance_type(claim.instance_type)
        return known is not None and known.allocatable.gpus > 0

    async def _initialise(self, claim: NodeClaim) -> float | None:
        node = self._state.node_of(claim)
        if node is not None and self._waits_for_controller(node, claim):
            patient_until = self._works_since[claim.name] + _CONTROLLER_SECONDS
            if self._clock.now() < patient_until:
                return patient_until
            node = await self._untaint(node)
        if node is None or not self._usable(node, claim):
            return await self._within(
                claim, wire.REGISTERED, self._settings.initialisation_deadline_seconds
            )
        done = self._claims.condition(wire.INITIALISED, True, reason="Initialised")
        await self._claims.set_status(claim, {}, done)
        self._works_since.pop(claim.name, None)
        log.info("node initialised", extra={"claim": claim.name, "node": node.name})
        return None

    def _usable(self, node: Node, claim: NodeClaim) -> bool:
        """It works, and no taint is left that only says it is still coming up."""
        return self._works(node, claim) and not any(map(wire.is_passing, node.taints))

    def _works(self, node: Node, claim: NodeClaim) -> bool:
        """Ready, and its GPUs reported, all parts of them."""
        known = self._state.instance_type(claim.instance_type)
        return node.ready and node.allocatable.gpus >= (units(known, claim.layout) if known else 0)

    def _waits_for_controller(self, node: Node, claim: NodeClaim) -> bool:
        """Whether all it lacks is that the node controller notices that it is Ready."""
        passing = {taint.key for taint in node.taints if wire.is_passing(taint)}
        if not self._works(node, claim) or passing != {_NOT_READY}:
            self._works_since.pop(claim.name, None)
            return False
        self._works_since.setdefault(claim.name, self._clock.now())
        return True

    async def _untaint(self, node: Node) -> Node:
        """What the node controller will do, on the same ground: the node says that it is Ready."""
        keep = [wire.taint_json(t) for t in node.taints if t.key != _NOT_READY]
        return await self._claims.patch_node(node, {"spec": {"taints": keep}})

    async def _within(self, claim: NodeClaim, since: str, seconds: float) -> float | None:
        """Wait for the next step until its deadline; then end the claim, to plan anew."""
        begun = claim.condition(since)
        deadline = (begun.since if begun else claim.created_at) + seconds
        if self._clock.now() < deadline:
            return _sooner(deadline, await self._look_after_empty(claim))
        self._state.mark_dry([offering_of(claim)], f"{since}TooLong")
        await self._claims.delete(claim, f"{since}TooLong")
        return None

    # --- emptiness ----------------------------------------------------------------------------

    async def _look_after_empty(self, claim: NodeClaim) -> float | None:
        """Note since when nobody uses the claim, and end it after the grace."""
        if claim.name in self._state.busy:
            return self._clock.now() + 1.0
        kept = self._state.kept(claim).reservations
        if self._state.users_of(claim) or kept:
            if claim.empty_since is not None:
                await self._claims.set_status(claim, {"emptySince": None})
            return min((each.until for each in kept), default=None)
        if claim.empty_since is None:
            await self._claims.set_status(claim, {"emptySince": format_time(self._clock.now())})
            return None
        deadline = claim.empty_since + self._settings.empty_grace_seconds
        if self._clock.now() < deadline:
            return deadline
        await self._claims.delete(claim, "Empty")
        self._meter.count(metrics.CONSOLIDATIONS, action="empty")
        return None

    # --- ending -------------------------------------------------------------------------------

    async def _end(self, claim: NodeClaim) -> float | None:
        """Cordon, make sure nobody is there, terminate, see it gone, remove the node, let go."""
        if claim.condition(wire.TERMINATING) is None:
            going = self._claims.condition(wire.TERMINATING, True, reason="Terminating")
            claim = await self._claims.set_status(claim, {}, going)
        node = self._state.node_of(claim)
        if node is not None and not node.unschedulable:
            node = await self._cordon(node)
        now = self._clock.now()
        if now < self._poll_at.get(claim.name, 0.0):
            return self._poll_at[claim.name]
        if not await self._instance_gone(claim, node):
            if node is None or await self._may_go(node, claim):
                self._state.check_settled()
                self._asked.add(claim.name)
                await self._cloud.terminate([instance_id(claim.provider_id)])
            return self._look_again(claim, now)
        if node is not None and not await self._detaching.is_done(node, dead=True):
            return self._look_again(claim, now)
        self._works_since.pop(claim.name, None)
        self._poll_at.pop(claim.name, None)
        self._polls.pop(claim.name, None)
        self._asked.discard(claim.name)
        self._state.check_settled()
        if node is not None:
            await self._remove_node(node)
        await self._claims.drop_finalizer(claim)
        if claim.provider_id:
            self._meter.count(metrics.NODES_TERMINATED, capacity_type=claim.capacity_type)
        return None

    def _look_again(self, claim: NodeClaim, now: float) -> float:
        """When; later each time."""
        looks = self._polls.get(claim.name, 0)
        self._polls[claim.name] = looks + 1
        wait = _POLL_ENDING_SECONDS[min(looks, len(_POLL_ENDING_SECONDS) - 1)]
        self._poll_at[claim.name] = now + wait
        return self._poll_at[claim.name]

    async def _cordon(self, node: Node) -> Node | None:
        try:
            return await self._claims.patch_node(node, {"spec": {"unschedulable": True}})
        except NotFound:
            return None

    async def _may_go(self, node: Node, claim: NodeClaim) -> bool:
        """Whether neither a session nor a volume is left on it."""
        occupied = await self._occupied(node, claim)
        return not occupied and await self._detaching.is_done(node, dead=False)

    async def _occupied(self, node: Node, claim: NodeClaim) -> bool:
        """Whether a session is there or on its way, as the API server, not the cache, has it."""
        bound = await self._cluster.list(PODS, field_selector=f"spec.nodeName={node.name}")
        if any(wire.is_session(pod) and not _finished(pod) for pod in bound.items):
            return True
        return any(s.pinned_to == claim.name and not s.finished for s in self._state.sessions())

    async def _instance_gone(self, claim: NodeClaim, node: Node | None) -> bool:
        """Whether the cloud confirms that the claim has no instance (any more)."""
        if not claim.provider_id:
            return True
        for instance in await self._cloud.instances():
            if instance.provider_id == claim.provider_id:
                return instance.state == "terminated"
        # The cloud's list may lag, or leave out what exists: it is believed about what is not
        # brand-new, and was asked to end or has no living node.
        launched = claim.condition(wire.LAUNCHED)
        since = launched.since if launched else claim.created_at
        old = self._clock.now() - since > self._settings.orphan_grace_seconds
        return old and (claim.name in self._asked or node is None or not node.ready)

    async def _remove_node(self, node: Node) -> None:
        with contextlib.suppress(NotFound):
            await self._cluster.delete(NODES, node.name, resource_version=node.resource_version)


def _finished(pod: dict[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def instance_id(provider_id: str) -> str:
    """The instance's id is the last part: ``aws:///us-east-1a/i-0abc``."""
    return provider_id.rpartition("/")[2]


def offering_of(claim: NodeClaim) -> Offering:
    """What was launched for the claim, or what is wanted most while nothing is."""
    return Offering(
        instance_type=claim.instance_type or claim.offerings[0].instance_type,
        zone=claim.zone or claim.offerings[0].zone,
        capacity_type=CapacityType(claim.capacity_type or claim.offerings[0].capacity_type),
        usd_per_hour_micro=claim.usd_per_hour_micro,
    )


def _sooner(a: float, b: float | None) -> float:
    return a if b is None else min(a, b)
