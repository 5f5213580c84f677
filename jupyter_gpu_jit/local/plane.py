"""The demo's Kubernetes API: in memory behind HTTP, or a real control plane on loopback.

Called by ``demo``. Either way there is one kubeconfig for the hub and a Cluster port for each
of the others, so that nothing above knows which of the two it is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..ports import STORAGE_CLASSES, Clock, Cluster, Ids
from ..sim.binder import Binder
from ..sim.cluster import MemoryCluster
from ..sim.keepers import PodGc
from ..sim.volumes import DRIVER, VolumeMaker
from . import marks
from .control_plane import ControlPlane, build
from .http_api import KubernetesApi
from .threads import in_thread

Say = Callable[[str], None]

# So that a hub whose users have homes on volumes can be tried, too. They are volumes in name only:
# a session of the demo is a process on this machine, whose files are where they are.
_STORAGE_CLASS = {
    "metadata": {
        "name": "demo",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": DRIVER,
    "volumeBindingMode": "WaitForFirstConsumer",
}
_VOLUME_SECONDS = 0.5


class ClosableCluster(Cluster, Protocol):
    """A Cluster over a connection."""

    async def close(self) -> None:
        """Hang up."""
        ...


Connect = Callable[[str], ClosableCluster]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Who reaches the API how; each with the rights it would have in production.

    ``chores``: the work of kube-scheduler and kube-controller-manager where no real ones run.
    """

    nodes: Cluster
    provisioner: Cluster
    service: Cluster
    hub_kubeconfig: Path
    chores: tuple[Callable[[], Awaitable[None]], ...] = ()


@asynccontextmanager
async def memory_plane(
    folder: Path, clock: Clock, ids: Ids, *, namespace: str, say: Say
) -> AsyncIterator[Plane]:
    """The in-memory cluster, served to the hub over HTTP."""
    # Uids unlike another demo's: sessions are found, and ended, by the uid of their pod.
    cluster = MemoryCluster(clock, ids, namespaces=(namespace,), seed=secrets.randbits(64))
    await cluster.create(STORAGE_CLASSES, _STORAGE_CLASS)
    # Every volume of that class is made where its session goes: no zone need be named.
    volumes = VolumeMaker(cluster, clock, zone="", making_seconds=_VOLUME_SECONDS)
    token = secrets.token_urlsafe(32)
    api = KubernetesApi(cluster, token)
    url = await api.start()
    say(f"Kubernetes API, in memory: {url}")
    try:
        yield Plane(
            nodes=cluster,
            provisioner=cluster,
            service=cluster,
            hub_kubeconfig=_write_kubeconfig(folder / "kubeconfig", url=url, token=token),
            chores=(Binder(cluster, clock).run, PodGc(cluster, clock).run, volumes.run),
        )
    finally:
        await api.stop()


@asynccontextmanager
async def real_plane(
    folder: Path,
    *,
    manifests: Sequence[Path],
    connect: Connect,
    demo_id: str,
    say: Say,
    audit: bool = False,
) -> AsyncIterator[Plane]:
    """etcd, API server, scheduler and controllers, with the shipped accounts and rights."""
    programs = await in_thread(lambda: build(say))
    marked = {marks.DEMO_MARK: demo_id}
    control = ControlPlane(
        folder / "control-plane", programs, kwok=False, environment=marked, audit=audit
    )
    say("control plane: starting etcd, kube-apiserver, kube-scheduler, kube-controller-manager")
    await control.start()
    try:
        await control.apply(*manifests)
        say(f"Kubernetes API, real: {control.server}")
        async with AsyncExitStack() as stack:

            def connected(kubeconfig: Path) -> Cluster:
                cluster = connect(str(kubeconfig))
                stack.push_async_callback(cluster.close)
                return cluster

            yield Plane(
                nodes=connected(control.admin_kubeconfig()),
                provisioner=connected(await control.kubeconfig_for("provisioner")),
                service=connected(await control.kubeconfig_for("service")),
                hub_kubeconfig=await control.kubeconfig_for("hub"),
            )
    finally:
        await control.stop()


def _write_kubeconfig(path: Path, *, url: str, token: str) -> Path:
    name = "demo"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(body))  # JSON is YAML
    return path
