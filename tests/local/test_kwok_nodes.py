"""Nodes for KWOK follow the instances of a simulated cloud (their life on KWOK: tests/e2e)."""

import random

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.local.kwok import ANNOTATION, KwokNodes
from jupyter_gpu_jit.ports import NODES, LaunchRequest
from jupyter_gpu_jit.sim import loop
from jupyter_gpu_jit.sim.cloud import SimCloud
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.market import TYPES

KIND = next(kind for kind in TYPES if kind.name == "g6.xlarge")


async def launched(clock, ids):
    """A cloud with one running instance, and the cluster its node is in."""
    cluster = MemoryCluster(clock, ids)
    cloud = SimCloud(clock, ids, random.Random(1), TYPES)
    KwokNodes(cluster, clock).attach(cloud)
    request = LaunchRequest(client_token="t", offerings=KIND.offerings, count=1)
    [instance] = (await cloud.launch(request)).instances
    await clock.sleep(60)
    return cloud, cluster, instance


def test_an_instance_that_runs_is_a_node_with_its_gpus_that_kwok_looks_after():
    async def main():
        cloud, cluster, instance = await launched(loop.LoopClock(), loop.CountingIds())
        [node] = cluster.peek(NODES)
        assert node["metadata"]["annotations"][ANNOTATION] == "fake"
        assert node["spec"]["providerID"] == instance.provider_id
        assert node["status"]["allocatable"][wire.GPU_RESOURCE] == "1"
        await cloud.close()

    loop.run(main, seed=1)


def test_an_instance_that_ends_takes_its_node_along_whoever_is_first():
    async def main():
        clock = loop.LoopClock()
        for provisioner_was_first in (False, True):
            cloud, cluster, instance = await launched(clock, loop.CountingIds())
            if provisioner_was_first:
                await cluster.delete(NODES, cluster.peek(NODES)[0]["metadata"]["name"])
            await cloud.terminate([instance.id])
            await clock.sleep(300)
            assert cluster.peek(NODES) == []
            await cloud.close()

    loop.run(main, seed=1)
