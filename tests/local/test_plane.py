"""The demo's own control plane: what kube-scheduler and the controllers would do is done."""

from __future__ import annotations

import asyncio
from pathlib import Path

from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.core.wire import ZONE_LABEL
from jupyter_gpu_jit.local.plane import memory_plane
from jupyter_gpu_jit.ports import NODES, PODS, VOLUME_CLAIMS

WHERE = {"namespace": "gpu-jit"}
NODE = {
    "metadata": {"name": "n", "labels": {ZONE_LABEL: "us-east-1b"}},
    "status": {
        "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "10"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
CLAIM = {
    "metadata": {"name": "home"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
POD = {
    "metadata": {"name": "p"},
    "spec": {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
    },
}


async def test_a_claim_without_a_class_gets_a_volume_where_its_pod_is_bound(tmp_path: Path) -> None:
    clock, ids = SystemClock(), RandomIds()
    async with (
        memory_plane(tmp_path, clock, ids, namespace="gpu-jit", say=lambda _: None) as plane,
        asyncio.TaskGroup() as chores,
    ):
        running = [chores.create_task(chore()) for chore in plane.chores]  # type: ignore[arg-type]
        cluster = plane.nodes
        version = (await cluster.list(PODS)).resource_version
        await cluster.create(NODES, NODE)
        await cluster.create(VOLUME_CLAIMS, CLAIM, **WHERE)
        await cluster.create(PODS, POD, **WHERE)
        async with asyncio.timeout(20):
            async for event in cluster.watch(PODS, resource_version=version):
                if event.object.get("spec", {}).get("nodeName"):
                    break
        claim = await cluster.get(VOLUME_CLAIMS, "home", **WHERE)
        assert claim["status"]["phase"] == "Bound"
        for task in running:
            task.cancel()
