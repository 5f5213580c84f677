"""A provisioner with the shipped rights on the real control plane, its nodes kept alive by KWOK."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.errors import NotFound
from jupyter_gpu_jit.local.control_plane import ControlPlane
from jupyter_gpu_jit.local.kwok import KwokNodes
from jupyter_gpu_jit.ports import LEASES
from jupyter_gpu_jit.provisioner.runtime import Provisioner, Settings
from jupyter_gpu_jit.sim.boot import BootModel, exactly
from jupyter_gpu_jit.sim.cloud import SimCloud

NAMESPACE = "gpu-jit"
INSTANT = BootModel(**{
    step: exactly(0.0)
    for step in ("launch", "boot", "register", "ready", "gpus", "call", "shutdown")
})  # fmt: skip


@dataclass
class Real:
    """The parts of one test on the control plane."""

    admin: KubernetesCluster
    cluster: KubernetesCluster
    cloud: SimCloud
    provisioner: Provisioner
    running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.running = asyncio.create_task(self.provisioner.run())


@contextlib.asynccontextmanager
async def real_parts(control_plane: ControlPlane, settings: Settings) -> AsyncIterator[Real]:
    """Everything but the provisioner's run, which the test starts; ended at the end."""
    clock, ids = SystemClock(), RandomIds()
    token = await control_plane.service_account_token("provisioner", NAMESPACE)
    where = {"server": control_plane.server, "ca_file": str(control_plane.ca_file)}
    admin = KubernetesCluster.connect(token=control_plane.admin_token, **where)
    await forget_leaders(admin)
    cluster = KubernetesCluster.connect(token=token, **where)
    tags = {wire.CLUSTER_TAG: settings.cluster_id, wire.HUB_TAG: settings.hub_id}
    cloud = SimCloud(clock, ids, random.Random(1), instance_types(), boot=INSTANT, tags=tags)
    KwokNodes(admin, clock).attach(cloud)
    provisioner = Provisioner(cluster, cloud, clock, ids=ids, settings=settings)
    parts = Real(admin, cluster, cloud, provisioner)
    try:
        yield parts
    finally:
        if parts.running is not None:
            parts.running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await parts.running
        await provisioner.resign()
        await cloud.close()
        await cluster.close()
        await admin.close()


async def forget_leaders(admin: KubernetesCluster) -> None:
    """Provisioners of other tests: what they remember of their clouds stands on the lease."""
    with contextlib.suppress(NotFound):
        await admin.delete(LEASES, Settings().lease_name, namespace=NAMESPACE)


async def until(holds: Callable[[], Any], seconds: float) -> Any:
    """Ask again and again until the answer is true; fail loudly after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await holds()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.1)
