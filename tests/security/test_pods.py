"""S2: the pods that a hub with just ``setup(c)`` makes pass the strictest Pod Security level.

A real hub makes the pod, a real API server judges it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_world import World

from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.hub import manifest
from jupyter_gpu_jit.local.control_plane import ControlPlane

SHIPPED = Path(__file__).parents[2] / "hub_config" / "rbac.yaml"
ENFORCE = "pod-security.kubernetes.io/enforce"
Pod = dict[str, Any]


@pytest.fixture
async def pod(tmp_path: Path) -> Pod:
    """As the hub makes it for a profile with GPUs."""
    world = await World(tmp_path).start()
    try:
        user = await world.new_user()
        await world.call("POST", f"users/{user}/server", {"profile": "l4"})
        return manifest.again(await world.hand.has_pod(user))
    finally:
        await world.stop()


async def namespace(plane: ControlPlane, level: str) -> str:
    name = f"level-{level}"
    meta = {"name": name, "labels": {ENFORCE: level}}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
    await plane.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    account = ("wait", "--for=create", "--timeout=30s", "serviceaccount/default", "-n", name)
    await plane.kubectl(*account)
    return name


async def admit(plane: ControlPlane, where: str, pod: Pod) -> None:
    """Raises Defect with the API server's reason when it would not take the pod."""
    text = json.dumps(pod)
    await plane.kubectl("create", "--dry-run=server", "-n", where, "-f", "-", stdin=text)


def changed(pod: Pod, change: Callable[[Pod, Pod], None]) -> Pod:
    copy: Pod = json.loads(json.dumps(pod))
    change(copy["spec"], copy["spec"]["containers"][0])
    return copy


def as_root(spec: Pod, container: Pod) -> None:
    container["securityContext"]["runAsNonRoot"] = False


def without_context(spec: Pod, container: Pod) -> None:
    del container["securityContext"]


def with_more_rights(spec: Pod, container: Pod) -> None:
    container["securityContext"]["capabilities"] = {"add": ["SYS_ADMIN"]}


def on_the_nodes_network(spec: Pod, container: Pod) -> None:
    spec["hostNetwork"] = True


def with_the_nodes_files(spec: Pod, container: Pod) -> None:
    spec["volumes"].append({"name": "root", "hostPath": {"path": "/"}})


def with_the_metadata_blocker(spec: Pod, container: Pod) -> None:
    rights = {"capabilities": {"add": ["NET_ADMIN"]}}
    spec["initContainers"] = [{"name": "block", "image": "b", "securityContext": rights}]


async def test_a_session_passes_every_level_and_worse_ones_do_not(
    control_plane: ControlPlane, pod: Pod
) -> None:
    strict = await namespace(control_plane, "restricted")
    shipped = yaml.safe_load(SHIPPED.read_text().partition("---")[0])
    where = shipped["metadata"]["name"]
    assert shipped["metadata"]["labels"][ENFORCE] == "baseline"
    for name in (strict, where):
        await admit(control_plane, name, pod)
    for change in (as_root, without_context):
        await admit(control_plane, where, changed(pod, change))
        with pytest.raises(Defect, match='PodSecurity "restricted'):
            await admit(control_plane, strict, changed(pod, change))
    for change in (
        with_more_rights,
        on_the_nodes_network,
        with_the_nodes_files,
        with_the_metadata_blocker,
    ):
        with pytest.raises(Defect, match='PodSecurity "baseline'):
            await admit(control_plane, where, changed(pod, change))


async def test_a_session_has_no_token_of_the_cluster(pod: Pod) -> None:
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"].get("serviceAccountName", "default") == "default"


async def test_what_an_admin_said_before_of_the_container_stays() -> None:
    from traitlets.config import Config

    from jupyter_gpu_jit.hub import setup

    c = Config()
    c.KubeSpawner.container_security_context = {"runAsUser": 0}
    setup(c)
    assert c.KubeSpawner.container_security_context == {"runAsUser": 0}
