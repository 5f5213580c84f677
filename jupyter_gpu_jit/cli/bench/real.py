"""The stage of the stated figures: a real control plane, KWOK's nodes, the shipped rights.

Called by figures.py. The provisioner runs in a process of its own and the stopwatch in this
one, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ...adapters.kubernetes import KubernetesCluster
from ...errors import Defect
from ...local.control_plane import ControlPlane, build
from ...local.demo import DATA

NAMESPACE, ACCOUNT = "gpu-jit", "provisioner"
GRACE_SECONDS = 10.0
COMMAND = (sys.executable, "-m", "jupyter_gpu_jit.cli.bench.provisioner")


@dataclass(frozen=True, slots=True)
class RealStage:
    """See start.Stage."""

    cluster: KubernetesCluster
    namespace: str
    plane: ControlPlane

    @property
    def address(self) -> dict[str, str]:
        """Where the API server is, and the file of its CA."""
        return {"server": self.plane.server, "ca_file": str(self.plane.ca_file)}

    async def own_token(self, account: str) -> str:
        """A token of a service account, with the rights that are shipped for it."""
        return await self.plane.service_account_token(account, NAMESPACE)

    @asynccontextmanager
    async def provisioner(self, empty_grace_seconds: float) -> AsyncIterator[None]:
        """With the rights of its own service account."""
        orders = {
            **self.address,
            "admin": self.plane.admin_token,
            "own": await self.own_token(ACCOUNT),
            "namespace": self.namespace,
            "empty_grace_seconds": empty_grace_seconds,
        }
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(orders).encode() + b"\n")
            yield
        finally:
            process.stdin.close()
            await ended(process)


async def ended(process: asyncio.subprocess.Process, also: int = 0) -> None:
    """Wait for its end. Raises Defect when its status is neither 0 nor ``also``."""
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            status = await process.wait()
    except TimeoutError:
        process.kill()
        status = await process.wait()
    if status not in (0, also):
        raise Defect(f"The provisioner ended with status {status}.")


@asynccontextmanager
async def real_stage(say: Callable[[str], None]) -> AsyncIterator[RealStage]:
    """A control plane of its own in a temporary folder; nothing of it is left afterwards."""
    programs = build(say)
    with tempfile.TemporaryDirectory(prefix="gpu-jit-bench-") as folder:
        plane = ControlPlane(Path(folder), programs)
        say("starting etcd, kube-apiserver, kube-scheduler, kube-controller-manager, KWOK")
        await plane.start()
        try:
            await plane.apply(DATA / "crd.yaml", DATA / "rbac.yaml")
            cluster = KubernetesCluster.connect(
                server=plane.server, token=plane.admin_token, ca_file=str(plane.ca_file)
            )
            try:
                yield RealStage(cluster, NAMESPACE, plane)
            finally:
                await cluster.close()
        finally:
            await plane.stop()
