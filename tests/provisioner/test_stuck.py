"""A stuck pod is marked, then deleted, and not deleted while a write of ours is in doubt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Profile
from jupyter_gpu_jit.errors import NotFound, TransientError
from jupyter_gpu_jit.ports import PODS
from jupyter_gpu_jit.provisioner.settings import Settings
from jupyter_gpu_jit.provisioner.state import ClusterState
from jupyter_gpu_jit.provisioner.stuck import Stuck
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds, LoopClock, run
from jupyter_gpu_jit.sim.users import session_pod


class Doubtful:
    """A cluster beside which another write goes unanswered during each patch, while ``doubt``."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster, self.doubt = cluster, lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cluster, name)

    async def patch(self, *args: Any, **kwargs: Any) -> Any:
        self.doubt()
        return await self.cluster.patch(*args, **kwargs)


def test_doubt_that_comes_up_between_mark_and_deletion_holds_the_deletion_back(
    l4: Profile,
) -> None:
    async def main() -> None:
        clock = LoopClock()
        cluster = MemoryCluster(clock, CountingIds())
        ports = Doubtful(cluster)
        settings = Settings()
        state = ClusterState(cluster, Any, clock, settings=settings, changed=lambda: None)
        stuck = Stuck(ports, clock, state=state, settings=settings)
        pod = session_pod(l4, user="alice")
        pod["spec"] |= {"schedulingGates": None, "nodeSelector": {wire.PIN_LABEL: "gnc-1"}}
        state.observe(PODS, await cluster.create(PODS, pod, namespace="gpu-jit"))
        await asyncio.sleep(settings.release_deadline_seconds + 1)

        ports.doubt = state.doubt
        with pytest.raises(TransientError, match="in doubt"):
            await stuck.look()
        marked = await cluster.get(PODS, "jupyter-alice", namespace="gpu-jit")
        assert wire.RECREATE_ANNOTATION in marked["metadata"]["annotations"]

        ports.doubt = lambda: None
        state._settled = state._doubts
        await stuck.look()
        with pytest.raises(NotFound):
            await cluster.get(PODS, "jupyter-alice", namespace="gpu-jit")

    run(main, seed=1)
