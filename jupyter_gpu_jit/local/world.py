"""The simulated cloud in real time, with a process node for every instance that runs.

Called by ``demo``. Boot times, prices and GPUs are simulated; the sessions on the nodes are
real processes of this machine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.model import InstanceType
from ..core.quantity import format_usd
from ..ports import Clock, Cluster, Ids, Instance
from ..sim.boot import BootModel
from ..sim.cloud import Hooks, SimCloud
from ..sim.kubelet import PodTimes
from .agent import Delays, NodeAgent
from .processes import Host

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Laws:
    """What the world is made of: what is sold, how long things take, whose it is."""

    instance_types: Sequence[InstanceType]
    tags: Mapping[str, str]
    boot: BootModel
    times: PodTimes
    seed: int | None = None


class ProcessNodes:
    """A process node for every instance that runs; ``close`` ends all, and with them sessions."""

    def __init__(
        self, cluster: Cluster, clock: Clock, *, host: Host, laws: Laws, rng: random.Random
    ) -> None:
        self._cluster, self._clock, self._host = cluster, clock, host
        self._laws, self._rng = laws, rng
        self._types = {kind.name: kind for kind in laws.instance_types}
        self._nodes: dict[str, asyncio.Task[None]] = {}
        self.hooks = Hooks(on_running=self._on_running, on_ended=self._on_ended)

    async def close(self) -> None:
        """End everything."""
        await self._end(list(self._nodes.values()))

    async def _on_running(self, instance: Instance) -> None:
        agent = NodeAgent(
            self._cluster,
            self._clock,
            instance=instance,
            instance_type=self._types[instance.instance_type],
            host=self._host,
            delays=self._delays(),
        )
        self._nodes[instance.id] = asyncio.create_task(agent.run(), name=f"node {agent.name}")

    def _delays(self) -> Delays:
        boot = self._laws.boot
        return Delays(
            register_seconds=boot.register.draw(self._rng),
            ready_seconds=boot.ready.draw(self._rng),
            gpus_seconds=boot.gpus.draw(self._rng),
            pull_seconds=self._laws.times.pull.draw(self._rng),
        )

    async def _on_ended(self, instance: Instance) -> None:
        await self._end([self._nodes.pop(instance.id)])

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class World:
    """A cloud and its nodes; ``close`` ends all nodes and with them all sessions."""

    def __init__(
        self, cluster: Cluster, clock: Clock, ids: Ids, *, host: Host, laws: Laws, say: Say
    ) -> None:
        self._say = say
        rng = random.Random(laws.seed)
        self._nodes = ProcessNodes(cluster, clock, host=host, laws=laws, rng=rng)
        self.cloud = SimCloud(
            clock,
            ids,
            rng,
            laws.instance_types,
            boot=laws.boot,
            tags=laws.tags,
            hooks=self._nodes.hooks,
        )
        self.cloud.on_change.append(self._tell)

    async def close(self) -> None:
        """End everything."""
        await self.cloud.close()
        await self._nodes.close()

    def _tell(self, instance: Instance) -> None:
        self._say(f"simulated cloud: {told(instance)}")


def told(instance: Instance) -> str:
    """An instance in the words of the demo's output."""
    price = format_usd(instance.usd_per_hour_micro)
    return (
        f"{instance.id} ({instance.instance_type}, {instance.capacity_type}, {instance.zone}, "
        f"{price}/h) is {instance.state}"
    )
