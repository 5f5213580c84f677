"""What several simulator tests share: small builders, no fixtures."""

from __future__ import annotations

import asyncio

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Condition, LaunchBatch, NodeClaim
from jupyter_gpu_jit.ports import CLAIMS, NODES, PODS, Instance
from jupyter_gpu_jit.sim import loop
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.market import L4, TYPES
from jupyter_gpu_jit.sim.users import session_pod

NS = "gpu-jit"
KINDS = {kind.name: kind for kind in TYPES}


def virtually(main, *, seed=0):
    """Run an async test body in virtual time."""
    return loop.run(main, seed=seed)


class HandClock:
    """Time as the test sets it; a sleep is over at once."""

    def __init__(self):
        self.time = loop.EPOCH

    def now(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds
        await asyncio.sleep(0)


async def until(condition, *, seconds=600.0):
    """Wait for a condition in virtual time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing to be told by
            await asyncio.sleep(0.1)


def instance(number=1, *, kind="g6.xlarge", state="running", batch="batch-1", at=loop.EPOCH):
    """An instance as the cloud shows it."""
    return Instance(
        id=f"i-{number:017x}",
        provider_id=f"aws:///us-east-1a/i-{number:017x}",
        instance_type=kind,
        zone="us-east-1a",
        capacity_type="spot",
        state=state,
        launched_at=at,
        usd_per_hour_micro=321_920,
        tags={wire.CLUSTER_TAG: "sim", wire.HUB_TAG: "sim", wire.BATCH_TAG: batch},
    )


def claim(name="gnc-1", *, batch=None, sessions=()):
    """A claim as it is written first."""
    return NodeClaim(
        name=name,
        uid="",
        resource_version="",
        created_at=loop.EPOCH,
        cluster_id="sim",
        hub_id="sim",
        batch=batch or LaunchBatch(id="batch-1", claims=(name,)),
        offerings=KINDS["g6.xlarge"].offerings[:1],
        sessions=tuple(sessions),
    )


async def write_claim(cluster, made, *, provider_id="", conditions=()):
    """Create a claim and its status."""
    body = await cluster.create(CLAIMS, wire.encode_claim(made))
    if provider_id or conditions:
        await set_claim(cluster, made.name, provider_id=provider_id, conditions=conditions)
    return body


async def set_claim(cluster, name, *, provider_id="", conditions=()):
    """Patch a claim's status."""
    rows = [
        wire.encode_condition(Condition(type=kind, status=True, since=loop.EPOCH))
        for kind in conditions
    ]
    status = {"providerID": provider_id, "conditions": rows}
    await cluster.patch(CLAIMS, name, {"status": status}, subresource="status")


async def add_pod(cluster, user="alice", profile=L4):
    """A session's gated pod."""
    return await cluster.create(PODS, session_pod(profile, user=user), namespace=NS)


async def release(cluster, name, place):
    """Open the gate and pin the pod, as the provisioner does."""
    patch = {
        "metadata": {"annotations": {wire.CLAIM_ANNOTATION: place}},
        "spec": {"schedulingGates": None, "nodeSelector": {wire.PIN_LABEL: place}},
    }
    return await cluster.patch(PODS, name, patch, namespace=NS)


async def bind(cluster, name, node):
    """What a scheduler does."""
    body = {"target": {"kind": "Node", "name": node}}
    await cluster.create(PODS, body, namespace=NS, name=name, subresource="binding")


async def get_pod(cluster, name="jupyter-alice"):
    """The pod as stored."""
    return await cluster.get(PODS, name, namespace=NS)


async def get_node(cluster, name):
    """The node as stored, read."""
    return wire.read_node(await cluster.get(NODES, name))


def new_cluster(clock):
    """An in-memory cluster with its own ids."""
    return MemoryCluster(clock, loop.CountingIds())
