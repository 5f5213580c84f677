"""The volumes of a node on its way out: they are let go of before it is, within a deadline.

Called by lifecycle.py. An instance that is ended under an attached volume keeps it from being
mounted elsewhere for minutes. Where the instance is gone already, Kubernetes is told that nothing
runs there any more, so that it detaches without waiting for an answer (node out-of-service).
"""

from __future__ import annotations

import logging

from ..core import wire
from ..core.model import Node
from ..errors import NotFound
from ..ports import VOLUME_ATTACHMENTS, Clock, Cluster
from .claims import ClaimWriter
from .settings import Settings

log = logging.getLogger(__name__)


class Detaching:
    """Says when a node may go as far as its volumes are concerned.

    Since when it has waited is kept in memory: a new leader waits anew.
    """

    def __init__(
        self, cluster: Cluster, clock: Clock, *, claims: ClaimWriter, settings: Settings
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._claims = claims
        self._settings = settings
        self._since: dict[str, float] = {}

    async def is_done(self, node: Node, *, dead: bool) -> bool:
        """Whether nothing is attached to the node, or it has been waited for long enough.

        ``dead``: its instance is gone. Raises TransientError.
        """
        if not await self._attached(node):
            self._since.pop(node.name, None)
            return True
        since = self._since.setdefault(node.name, self._clock.now())
        if self._clock.now() >= since + self._settings.detach_deadline_seconds:
            log.warning("volumes still attached", extra={"node": node.name})
            self._since.pop(node.name)
            return True
        if dead:
            await self._out_of_service(node)
        return False

    async def _attached(self, node: Node) -> bool:
        listing = await self._cluster.list(VOLUME_ATTACHMENTS)
        return any(each["spec"].get("nodeName") == node.name for each in listing.items)

    async def _out_of_service(self, node: Node) -> None:
        if wire.OUT_OF_SERVICE_TAINT in node.taints:
            return
        taints = [wire.taint_json(t) for t in (*node.taints, wire.OUT_OF_SERVICE_TAINT)]
        try:
            await self._claims.patch_node(node, {"spec": {"taints": taints}})
        except NotFound:
            return
        log.info("node out of service", extra={"node": node.name})
