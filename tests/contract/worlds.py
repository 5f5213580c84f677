"""What the contract tests share: a cluster, a namespace of one's own, small valid objects."""

import asyncio
import itertools
import time
from contextlib import asynccontextmanager, suppress

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.errors import NotFound
from jupyter_gpu_jit.local.http_api import KubernetesApi
from jupyter_gpu_jit.ports import CLAIMS, NODES, PODS, Kind
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.objects import NAMESPACES

SERVICE_ACCOUNTS = Kind("", "v1", "serviceaccounts", "ServiceAccount", True)
TOKEN = "contract-token"
_names = itertools.count(1)


class World:
    """A cluster, a namespace of its own, and builders of small valid objects."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    def name(self, prefix="x"):
        return f"{prefix}-{self.namespace}-{next(_names)}"

    def pod(self, **spec):
        container = {"name": "notebook", "image": "registry.invalid/none:1"}
        # No scheduler of that name is there to write into the pod while a test looks at it.
        spec = {"schedulerName": "nobody", "containers": [container], **spec}
        return {"metadata": {"name": self.name("pod")}, "spec": spec}

    async def create_pod(self, meta=None, **spec):
        body = self.pod(**spec)
        body["metadata"] |= meta or {}
        return await self.cluster.create(PODS, body, namespace=self.namespace)

    async def gated(self, meta=None, **spec):
        spec = {"schedulingGates": [{"name": "gpu-jit.io/plan"}], **spec}
        return await self.create_pod(meta, **spec)

    async def bound(self, meta=None, **spec):
        pod = await self.create_pod(meta, **spec)
        await self.bind(pod, "contract-node")
        return await self.get_pod(pod)

    async def bind(self, pod, node, **meta):
        name = pod["metadata"]["name"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": self.namespace, **meta},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        return await self.cluster.create(
            PODS, body, namespace=self.namespace, name=name, subresource="binding"
        )

    async def get_pod(self, pod):
        return await self.cluster.get(PODS, pod["metadata"]["name"], namespace=self.namespace)

    async def patch_pod(self, pod, patch, subresource=""):
        return await self.cluster.patch(
            PODS,
            pod["metadata"]["name"],
            patch,
            namespace=self.namespace,
            subresource=subresource,
        )

    async def delete_pod(self, pod, **options):
        name = pod["metadata"]["name"]
        await self.cluster.delete(PODS, name, namespace=self.namespace, **options)

    async def create_node(self, **parts):
        name = self.name("node")
        labels = {"contract": self.namespace}
        return await self.cluster.create(
            NODES, {"metadata": {"name": name, "labels": labels}, **parts}
        )

    def claim(self, **meta):
        name = self.name("claim")
        offering = {
            "instanceType": "g6.xlarge",
            "zone": "us-east-1a",
            "capacityType": "spot",
            "microUSDPerHour": 300_000,
        }
        spec = {
            "clusterID": "c",
            "hubID": "h",
            "batch": {"id": "b", "claims": [name], "attempt": 1},
            "offerings": [offering],
        }
        meta = {"name": name, "labels": {"contract": self.namespace}, **meta}
        return {"metadata": meta, "spec": spec}

    async def create_claim(self, **meta):
        return await self.cluster.create(CLAIMS, self.claim(**meta))

    async def events_until(self, kind, count, resource_version, **scope):
        """The first ``count`` events that are no bookmarks."""
        found = []
        async with asyncio.timeout(10):
            while True:
                stream = self.cluster.watch(kind, resource_version=resource_version, **scope)
                async for event in stream:
                    resource_version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        found.append(event)
                    if len(found) == count:
                        await stream.aclose()
                        return found


async def eventually(check, *, seconds=10.0):
    """What ``check()`` gives once it gives something true."""
    deadline = time.monotonic() + seconds
    while True:
        found = await check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {check}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def served_memory():
    """The in-memory cluster behind HTTP, and its URL."""
    memory = MemoryCluster(SystemClock(), RandomIds())
    api = KubernetesApi(memory, TOKEN)
    url = await api.start()
    try:
        yield memory, api, url
    finally:
        await api.stop()


@asynccontextmanager
async def connected(server, token, ca_file=None, **limits):
    cluster = KubernetesCluster.connect(server=server, token=token, ca_file=ca_file, **limits)
    try:
        yield cluster
    finally:
        await cluster.close()


async def in_namespace(cluster, *, real):
    """A fresh namespace that takes pods."""
    namespace = f"contract-{time.time_ns() % 10**10}-{next(_names)}"
    await cluster.create(NAMESPACES, {"metadata": {"name": namespace}})

    async def has_account():
        try:
            return await cluster.get(SERVICE_ACCOUNTS, "default", namespace=namespace)
        except NotFound:
            return None

    if real:
        await eventually(has_account)
    return World(cluster, namespace)


async def leave_no_claims(cluster):
    """They are in no namespace, and other tests of the control plane count theirs."""
    for claim in (await cluster.list(CLAIMS)).items:
        name = claim["metadata"]["name"]
        for end in (
            cluster.patch(CLAIMS, name, {"metadata": {"finalizers": None}}),
            cluster.delete(CLAIMS, name),
        ):
            with suppress(NotFound):
                await end
