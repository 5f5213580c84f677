"""Nodes that KWOK keeps alive: everything real but the machine. For load tests and the bench.

The hooks of a ``SimCloud`` on a real control plane: an instance that runs becomes a Node
object with KWOK's annotation, which KWOK then makes Ready and whose pods it makes Running.
"""

from __future__ import annotations

import contextlib

from ..core import wire
from ..errors import NotFound
from ..ports import NODES, Clock, Cluster, Instance
from ..sim.cloud import Hooks, SimCloud
from ..sim.kubelet import NodeSpec, node_json

ANNOTATION = "kwok.x-k8s.io/node"


class KwokNodes:
    """Gives the instances of a simulated cloud their nodes, through ``cluster`` (an admin's)."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self.names: dict[str, str] = {}

    def attach(self, cloud: SimCloud) -> None:
        """Follow that cloud's instances from now on."""

        async def on_running(instance: Instance) -> None:
            await self._join(NodeSpec(
                instance=instance, instance_type=cloud.instance_type(instance.instance_type)
            ))  # fmt: skip

        cloud.hooks = Hooks(on_running=on_running, on_ended=self._leave)

    async def _join(self, spec: NodeSpec) -> None:
        body = node_json(spec, self._clock.now())
        status = body.pop("status")
        gpus = {wire.GPU_RESOURCE: str(spec.gpus)}
        for amounts in ("capacity", "allocatable"):
            status[amounts] = {**status[amounts], **gpus}
        body["metadata"].setdefault("annotations", {})[ANNOTATION] = "fake"
        self.names[spec.instance.id] = spec.name
        await self._cluster.create(NODES, body)
        await self._cluster.patch(NODES, spec.name, {"status": status}, subresource="status")

    async def _leave(self, instance: Instance) -> None:
        # As the cloud's own controller would; usually the provisioner has done it already.
        with contextlib.suppress(NotFound):
            await self._cluster.delete(NODES, self.names[instance.id])
