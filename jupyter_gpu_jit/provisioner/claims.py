"""Writes on claims and nodes that several parts need; each write enters the cache at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..core import wire
from ..core.model import Condition, Node, NodeClaim
from ..errors import NotFound
from ..ports import CLAIMS, NODES, Clock, Cluster
from .state import ClusterState

log = logging.getLogger(__name__)


class ClaimWriter:
    """Patches with the resource version of what was read: a stale view gets a Conflict."""

    def __init__(self, cluster: Cluster, clock: Clock, *, state: ClusterState) -> None:
        self._cluster = cluster
        self._clock = clock
        self._state = state

    async def set_status(
        self, claim: NodeClaim, fields: Mapping[str, Any], *conditions: Condition
    ) -> NodeClaim:
        """Write status fields and conditions; the claim as stored. Raises Conflict, NotFound."""
        merged = claim.conditions
        for condition in conditions:
            merged = wire.with_condition(merged, condition)
        patch = {
            "metadata": {"resourceVersion": claim.resource_version},
            "status": {**fields, "conditions": [wire.encode_condition(c) for c in merged]},
        }
        body = await self._cluster.patch(CLAIMS, claim.name, patch, subresource="status")
        return wire.read_claim(self._state.observe(CLAIMS, body))

    def condition(
        self, kind: str, status: bool | None, *, reason: str = "", message: str = ""
    ) -> Condition:
        """A condition that became so now."""
        return Condition(
            type=kind, status=status, since=self._clock.now(), reason=reason, message=message[:1000]
        )

    async def delete(self, claim: NodeClaim, reason: str) -> None:
        """Ask for a claim's end; the finalizer keeps it until its instance is gone.

        Raises TransientError while in doubt, Conflict when the claim has changed.
        """
        self._state.check_settled()
        self._state.closing.add(claim.name)
        try:
            await self._cluster.delete(
                CLAIMS, claim.name, uid=claim.uid, resource_version=claim.resource_version
            )
        except NotFound:
            pass
        except BaseException:
            self._state.closing.discard(claim.name)
            raise
        log.info("claim ended", extra={"claim": claim.name, "reason": reason})

    async def drop_finalizer(self, claim: NodeClaim) -> None:
        """Let the claim go. Raises Conflict."""
        patch = {
            "metadata": {"resourceVersion": claim.resource_version, "finalizers": None},
        }
        try:
            body = await self._cluster.patch(CLAIMS, claim.name, patch)
        except NotFound:
            return
        self._state.claims.forget(body)
        self._state.closing.discard(claim.name)
        log.info("claim gone", extra={"claim": claim.name})

    async def patch_node(self, node: Node, patch: dict[str, Any]) -> Node:
        """Merge patch of a node as it was read. Raises Conflict, NotFound."""
        versioned = {
            **patch,
            "metadata": {"resourceVersion": node.resource_version, **patch.get("metadata", {})},
        }
        body = await self._cluster.patch(NODES, node.name, versioned)
        return wire.read_node(self._state.observe(NODES, body))
