"""Small stand-ins for parts of kube-controller-manager that the simulated world cannot do without.

Through the Cluster port only; used by the world alone (a real control plane has its own).
"""

from __future__ import annotations

from ..errors import Conflict, NotFound
from ..ports import NODES, PODS, Clock, Cluster, Json

GC_SECONDS = 20.0
"""Pod garbage collection looks this often; a pod goes when its node was missing twice in a row
and then once more (kube-controller-manager: every 20 s, 40 s of quarantine)."""
QUARANTINE_ROUNDS = 2
UNREACHABLE_SECONDS = 40.0
"""Without a heartbeat for this long a node is no longer Ready."""


class PodGc:
    """Removes pods whose node object has vanished, as podgc does."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster, self._clock = cluster, clock
        self._missing: dict[str, int] = {}

    async def run(self) -> None:
        """Look around for ever."""
        while True:
            await self._clock.sleep(GC_SECONDS)
            await self._look()

    async def _look(self) -> None:
        nodes = {n["metadata"]["name"] for n in (await self._cluster.list(NODES)).items}
        pods = [p for p in (await self._cluster.list(PODS)).items if _is_orphan(p, nodes)]
        self._missing = {_uid(pod): self._missing.get(_uid(pod), 0) + 1 for pod in pods}
        for pod in pods:
            if self._missing[_uid(pod)] > QUARANTINE_ROUNDS:
                await self._remove(pod)

    async def _remove(self, pod: Json) -> None:
        meta = pod["metadata"]
        try:
            await self._cluster.delete(
                PODS, meta["name"], namespace=meta["namespace"], uid=meta["uid"], grace_seconds=0
            )
        except (NotFound, Conflict):
            return


def _is_orphan(pod: Json, nodes: set[str]) -> bool:
    where = pod["spec"].get("nodeName")
    return bool(where) and where not in nodes


def _uid(pod: Json) -> str:
    return str(pod["metadata"]["uid"])


async def node_lost(cluster: Cluster, clock: Clock, name: str) -> None:
    """What the node controller does some time after a kubelet has fallen silent."""
    await clock.sleep(UNREACHABLE_SECONDS)
    unknown = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
    }
    try:
        await cluster.patch(
            NODES, name, {"status": {"conditions": [unknown]}}, subresource="status"
        )
    except NotFound:
        return
