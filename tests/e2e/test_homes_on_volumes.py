"""Homes on volumes, with a real API server, scheduler and volume controller: zones are followed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from real_provisioner import NAMESPACE, Real, real_parts, until

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.adapters.system import SystemClock
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.progress import Stage
from jupyter_gpu_jit.core.volumes import NO_PROVISIONER
from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.local.control_plane import ControlPlane
from jupyter_gpu_jit.ports import NODES, PODS, STORAGE_CLASSES, VOLUME_CLAIMS, VOLUMES, Kind
from jupyter_gpu_jit.provisioner.runtime import Settings
from jupyter_gpu_jit.provisioner.volumes import Volumes
from jupyter_gpu_jit.sim.market import L4
from jupyter_gpu_jit.sim.users import session_pod

SETTINGS = Settings(
    cluster_id="homes", hub_id="homes", namespace=NAMESPACE, empty_grace_seconds=0.5,
    collect_interval_seconds=5.0,
)  # fmt: skip
DEAR_ZONE = "us-east-1c"
"""Where nobody would go without a reason: Spot costs most there."""
FOUND = "homes-found"
GIB = {"storage": "1Gi"}


@pytest.fixture
async def real(control_plane: ControlPlane) -> AsyncIterator[Real]:
    async with real_parts(control_plane, SETTINGS) as parts:
        yield parts


async def make_volume(real: Real, name: str, kind: str = "") -> None:
    row = {"key": wire.ZONE_LABEL, "operator": "In", "values": [DEAR_ZONE]}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": GIB,
        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": name},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [row]}]}},
        "storageClassName": kind,
    }
    await real.admin.create(VOLUMES, {"metadata": {"name": name}, "spec": spec})


async def make_claim(real: Real, name: str, **spec: Any) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": GIB}, **spec}
    body = {"metadata": {"name": name}, "spec": spec}
    await real.admin.create(VOLUME_CLAIMS, body, namespace=NAMESPACE)


async def start(real: Real, user: str, *homes: str) -> str:
    body = session_pod(L4, user=user, volumes=homes)
    await real.admin.create(PODS, body, namespace=NAMESPACE)
    return str(body["metadata"]["name"])


async def zone_when_running(real: Real, pod: str) -> str:
    async def is_running() -> Any:
        body = await real.admin.get(PODS, pod, namespace=NAMESPACE)
        return body if body["status"].get("phase") == "Running" else None

    running = await until(is_running, 60)
    node = await real.admin.get(NODES, running["spec"]["nodeName"])
    return str(node["metadata"]["labels"][wire.ZONE_LABEL])


async def end(real: Real, *pods: str) -> None:
    for pod in pods:
        await real.admin.delete(PODS, pod, namespace=NAMESPACE, grace_seconds=0)

    async def all_given_back() -> bool:
        return not real.cloud.live()

    await until(all_given_back, 30)


async def take_away(real: Real, kind: Kind, *names: str) -> None:
    where = {"namespace": NAMESPACE} if kind.namespaced else {}
    for name in names:
        await real.admin.delete(kind, name, **where)


async def test_a_session_runs_where_its_home_is_and_others_where_it_is_cheapest(real: Real) -> None:
    await make_volume(real, "home-ann")
    await make_claim(real, "home-ann", storageClassName="", volumeName="home-ann")
    real.start()
    ann, bob = await start(real, "homes-ann", "home-ann"), await start(real, "homes-bob")
    assert await zone_when_running(real, ann) == DEAR_ZONE
    assert await zone_when_running(real, bob) != DEAR_ZONE
    await end(real, ann, bob)
    await take_away(real, VOLUME_CLAIMS, "home-ann")
    await take_away(real, VOLUMES, "home-ann")


async def test_a_session_waits_for_its_claim_and_goes_where_a_volume_is_found(real: Real) -> None:
    lazy = {"provisioner": NO_PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer"}
    await real.admin.create(STORAGE_CLASSES, {"metadata": {"name": FOUND}, **lazy})
    real.start()
    cat = await start(real, "homes-cat", "home-cat")

    async def told(words: str) -> bool:
        pod = await real.admin.get(PODS, cat, namespace=NAMESPACE)
        status = wire.read_session_pod(pod).status
        return bool(status and status.stage == Stage.WAITING and words in status.message)

    await until(lambda: told("its volume claim home-cat does not exist yet"), 20)
    await make_claim(real, "home-cat", storageClassName=FOUND)
    await until(lambda: told("no volume is left for its claim home-cat"), 20)
    await make_volume(real, "disk-7", FOUND)
    assert await zone_when_running(real, cat) == DEAR_ZONE
    claim = await real.admin.get(VOLUME_CLAIMS, "home-cat", namespace=NAMESPACE)
    assert (claim["status"]["phase"], claim["spec"]["volumeName"]) == ("Bound", "disk-7")
    await end(real, cat)
    await take_away(real, VOLUME_CLAIMS, "home-cat")
    await take_away(real, VOLUMES, "disk-7")
    await take_away(real, STORAGE_CLASSES, FOUND)


@pytest.mark.parametrize("what", ["claims", "volumes", "classes"])
async def test_an_account_without_the_right_to_look_is_told_what_to_do(
    control_plane: ControlPlane, what: str
) -> None:
    """As roles of an older version leave the provisioner."""
    token = await control_plane.service_account_token("hub", NAMESPACE)
    cluster = KubernetesCluster.connect(
        token=token, server=control_plane.server, ca_file=str(control_plane.ca_file)
    )
    seen = Volumes(cluster, SystemClock(), namespace=NAMESPACE, changed=lambda: None)
    with pytest.raises(Defect, match=r"is forbidden: .*\. Apply the roles of this version"):
        await getattr(seen, what).run()
    await cluster.close()
