"""People, a cloud and nodes around the provisioner as a process, on the real control plane.

The cloud and the nodes live in the test's process and so outlive every provisioner. Whatever
anybody is told, and every claim there ever was, is written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from worlds import leave_no_claims

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.errors import AlreadyExists, GpuJitError, NotFound, Unavailable
from jupyter_gpu_jit.local.cloud_api import CloudApi
from jupyter_gpu_jit.local.control_plane import ControlPlane
from jupyter_gpu_jit.local.kwok import KwokNodes
from jupyter_gpu_jit.ports import CLAIMS, LEASES, NODES, PODS, Json
from jupyter_gpu_jit.sim.boot import BootModel, exactly
from jupyter_gpu_jit.sim.cloud import SimCloud
from jupyter_gpu_jit.sim.kubelet import NodeSpec
from jupyter_gpu_jit.sim.market import L4, TYPES
from jupyter_gpu_jit.sim.users import pod_name, session_pod

NAMESPACE = "gpu-jit"
LEASE = "gpu-jit-provisioner"
LOOK_SECONDS = 0.1
TOKEN = "town-token"


def boot(*, launch: float, boot: float) -> BootModel:
    """Everything else takes no time."""
    steps = ("register", "ready", "gpus", "call", "shutdown")
    return BootModel(
        launch=exactly(launch), boot=exactly(boot), **dict.fromkeys(steps, exactly(0.0))
    )


class PatientNodes(KwokNodes):
    """A machine tries again until the API server hears it, as a kubelet does."""

    async def _join(self, spec: NodeSpec) -> None:
        while True:
            try:
                await super()._join(spec)
                return
            except AlreadyExists:
                # Created by a try whose answer was lost; it lacks its status.
                with contextlib.suppress(GpuJitError):
                    await self._cluster.delete(NODES, spec.name)
            except (Unavailable, NotFound):
                await asyncio.sleep(0.3)


@dataclass
class Records:
    """What was ever seen: provider id by claim, messages by user, the last look at the pods."""

    claims: dict[str, str] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=dict)
    pods: dict[str, Json] = field(default_factory=dict)
    uids: dict[str, set[str]] = field(default_factory=dict)


class Town:
    """``async with Town(...)``; leaves nothing on the control plane."""

    def __init__(
        self, plane: ControlPlane, folder: Path, name: str, *, model: BootModel | None = None
    ) -> None:
        self.plane, self.folder, self.name = plane, folder, name
        self.seen = Records()
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._tags = {wire.CLUSTER_TAG: name, wire.HUB_TAG: name}
        self._here: set[str] = set()
        self._model = model or boot(launch=0.3, boot=0.8)

    async def __aenter__(self) -> Self:
        clock = SystemClock()
        self.admin = KubernetesCluster.connect(
            server=self.plane.server,
            token=self.plane.admin_token,
            ca_file=str(self.plane.ca_file),
        )
        self.cloud = SimCloud(
            clock, RandomIds(), random.Random(1), TYPES, boot=self._model, tags=self._tags
        )
        PatientNodes(self.admin, clock).attach(self.cloud)
        self._api = CloudApi(self.cloud, TOKEN)
        self._cloud_url = await self._api.start()
        (self.folder / "cloud-token").write_text(TOKEN)
        self.kubeconfig = await self.plane.kubeconfig_for("provisioner", NAMESPACE)
        self._recorder = asyncio.create_task(self._record())
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self.processes.values():
            await process.wait()
        self._recorder.cancel()
        await asyncio.gather(self._recorder, return_exceptions=True)
        await self._sweep()
        await self._api.stop()
        await self.cloud.close()
        await self.admin.close()

    async def _sweep(self) -> None:
        """After a failure too, the next test finds the control plane empty."""
        for user in self.seen.told:
            await self._gone(
                self.admin.delete(PODS, pod_name(user), namespace=NAMESPACE, grace_seconds=0)
            )
        await leave_no_claims(self.admin)
        for node in (await self.admin.list(NODES)).items:
            await self._gone(self.admin.delete(NODES, node["metadata"]["name"]))

    async def _gone(self, work: Awaitable[object]) -> None:
        with contextlib.suppress(NotFound):
            await work

    # --- the provisioner ---------------------------------------------------------------------

    async def start_provisioner(self, *, kubeconfig: Path | None = None) -> str:
        """A new process; the identity it has in the lease."""
        identity = f"{self.name}-{len(self.processes)}"
        with (self.folder / f"{identity}.log").open("ab") as log:
            self.processes[identity] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "jupyter_gpu_jit", "provisioner"),
                *("--kubeconfig", str(kubeconfig or self.kubeconfig), "--identity", identity),
                *("--cluster-id", self.name, "--hub-id", self.name, "--lease-seconds", "2"),
                *("--cloud", self._cloud_url, "--empty-grace", "0.5"),
                *("--cloud-token-file", str(self.folder / "cloud-token")),
                stdout=log,
                stderr=log,
            )
        return identity

    def log_of(self, identity: str) -> str:
        """What that process logged."""
        return (self.folder / f"{identity}.log").read_text()

    async def leader(self) -> str:
        """The identity that leads, once it is one of a process that lives."""

        async def leads() -> str:
            with contextlib.suppress(NotFound):
                lease = await self.admin.get(LEASES, LEASE, namespace=NAMESPACE)
                holder = str((lease.get("spec") or {}).get("holderIdentity") or "")
                process = self.processes.get(holder)
                return holder if process is not None and process.returncode is None else ""
            return ""

        found = await self.until(leads, 30, "somebody leads")
        return str(found)

    # --- people ------------------------------------------------------------------------------

    async def sit_down(self, *users: str) -> None:
        """These ask for an L4 each."""
        for user in users:
            self.seen.told[user] = []
            await self.admin.create(PODS, session_pod(L4, user=user), namespace=NAMESPACE)
            self._here.add(user)

    async def leave(self) -> None:
        """Everybody stops."""
        self._here.clear()
        for user in self.seen.told:
            await self.admin.delete(PODS, pod_name(user), namespace=NAMESPACE, grace_seconds=0)

    def running(self) -> list[str]:
        """Users whose session runs, at the last look."""
        return sorted(u for u, p in self.seen.pods.items() if p["status"].get("phase") == "Running")

    async def all_run(self, seconds: float = 60.0) -> None:
        """Everybody's session runs."""

        async def run() -> bool:
            return self.running() == sorted(self.seen.told)

        await self.until(run, seconds, f"all run; told {self.seen.told}")

    async def nothing_left(self, seconds: float = 60.0) -> None:
        """No instance, claim or node of ours is left."""

        async def empty() -> bool:
            claims, nodes = await self.admin.list(CLAIMS), await self.admin.list(NODES)
            return not (claims.items or nodes.items or self.cloud.live())

        await self.until(empty, seconds, "everything given back")

    def assert_nothing_lost(self, *, again: bool = False) -> None:
        """Every launch has its claim, no claim has two, no session was seated twice."""
        launched = sorted(record.instance.provider_id for record in self.cloud.ledger.values())
        assert launched == sorted(p for p in self.seen.claims.values() if p)
        if not again:  # a pod may have been created again, and planned anew
            assert len(launched) == len(self.seen.told), "one node each, none launched in vain"
            assert all(len(uids) == 1 for uids in self.seen.uids.values()), "no pod was replaced"
        assert all(self.seen.told.values()), "everybody was told something"

    async def until(self, holds: Callable[[], Awaitable[Any]], seconds: float, what: str) -> Any:
        """Look until it holds; an API server that is away is waited for."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(Unavailable):
                if found := await holds():
                    return found
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            await asyncio.sleep(LOOK_SECONDS)

    # --- the record --------------------------------------------------------------------------

    async def _record(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                for body in (await self.admin.list(CLAIMS)).items:
                    claim = wire.read_claim(body)
                    self.seen.claims[claim.name] = claim.provider_id
                here = set(self._here)
                self._look((await self.admin.list(PODS, namespace=NAMESPACE)).items)
                # As the spawner does for a pod that no scheduler took in time.
                for user in (here & self._here) - set(self.seen.pods):
                    body = session_pod(L4, user=user)
                    with contextlib.suppress(AlreadyExists):
                        await self.admin.create(PODS, body, namespace=NAMESPACE)
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self, pods: tuple[Json, ...]) -> None:
        self.seen.pods = {}
        for body in filter(wire.is_session, pods):
            pod = wire.read_session_pod(body)
            user = pod.request.user
            self.seen.pods[user] = body
            self.seen.uids.setdefault(user, set()).add(pod.uid)
            said = pod.status.message if pod.status else ""
            told = self.seen.told.setdefault(user, [])
            if said and said not in told[-1:]:
                told.append(said)
