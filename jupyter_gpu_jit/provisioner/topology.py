"""Where in the cloud's network a node stands, written on it as labels for the planner.

EC2 tells that of running instances only, to few callers, and not of every type: so it is asked
once for each new node, for many at a time, and beside the way to a seat. Run by runtime.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ..core import wire
from ..core.model import Node, NodeClaim
from ..errors import Conflict, NotFound, TransientError
from ..ports import Cloud
from .claims import ClaimWriter
from .lifecycle import instance_id
from .state import ClusterState

log = logging.getLogger(__name__)
MOST_AT_ONCE = 100
LOOK_SECONDS = 5.0


class Topology:
    """Labels new nodes. Those the cloud says nothing of are asked about once per term."""

    def __init__(self, cloud: Cloud, *, state: ClusterState, claims: ClaimWriter) -> None:
        self._cloud = cloud
        self._state = state
        self._claims = claims
        self._asked: set[str] = set()

    async def look(self) -> None:
        """Ask about nodes that came since the last look. Raises TransientError."""
        new = dict(list(self._new())[:MOST_AT_ONCE])
        if not new:
            return
        found = await self._cloud.network_nodes(sorted(new))
        self._asked |= {claim.name for claim, _ in new.values()}
        for each, above in sorted(found.items()):
            await self._label(*new[each], above)

    def _new(self) -> Iterator[tuple[str, tuple[NodeClaim, Node]]]:
        for claim in self._state.claims:
            if claim.deleting or claim.name in self._asked or not claim.is_true(wire.INITIALISED):
                continue
            node = self._state.node_of(claim)
            if node is not None and wire.NETWORK_NODE_LABELS[0] not in node.labels:
                yield instance_id(claim.provider_id), (claim, node)

    async def _label(self, claim: NodeClaim, node: Node, above: tuple[str, ...]) -> None:
        labels = dict(zip(wire.NETWORK_NODE_LABELS, above, strict=False))
        try:
            await self._claims.patch_node(node, {"metadata": {"labels": labels}})
        except NotFound:
            return
        except Conflict:
            # It changed meanwhile: once more at the next look.
            self._asked.discard(claim.name)
        except TransientError:
            self._asked.discard(claim.name)
            raise
        else:
            log.info("network nodes known", extra={"claim": claim.name, "node": node.name})
