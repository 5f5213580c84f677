"""A resolved profile made into a pod, without a hub."""

import json

import pytest
from kubernetes_asyncio.client import ApiClient
from kubernetes_asyncio.client.models import (
    V1Container,
    V1ResourceRequirements,
    V1Toleration,
    V1VolumeMount,
)
from kubespawner.objects import make_pod

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.options import parse_profiles
from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.hub import manifest

GPU = {
    "slug": "l4",
    "gpus": {"count": 2, "models": ["L4"]},
    "cpu": {"guarantee": "3500m", "limit": 6},
    "memory": {"guarantee": "12Gi", "limit": "16Gi"},
    "shared_memory": "4Gi",
    "image": "ghcr.io/lab/torch:1",
    "zones": ["us-east-1a"],
    "capacity": "on-demand",
    "usd_per_hour_cap": 3,
}


def a_pod(**kwargs):
    return make_pod(
        name="jupyter-ann",
        cmd=["jupyterhub-singleuser"],
        port=8888,
        image="hub/default:1",
        env={"MEM_LIMIT": "1", "JUPYTER_IMAGE": "hub/default:1", "HOME": "/home/ann"},
        **kwargs,
    )


async def completed(data, pod=None, user="ann", server=""):
    (profile,) = parse_profiles([data])
    request = manifest.session_request(profile, user=user, server=server)
    done = manifest.complete(pod or a_pod(), profile, request)
    async with ApiClient() as client:
        return json.loads(json.dumps(client.sanitize_for_serialization(done)))


async def test_the_pod_is_gated_marked_sized_and_tolerates_its_nodes():
    pod = await completed(GPU)
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert spec["schedulingGates"] == [{"name": wire.GATE}]
    assert pod["metadata"]["labels"][wire.SESSION_LABEL] == "true"
    assert container["resources"] == {
        "requests": {"cpu": "3500m", "memory": "12Gi", "nvidia.com/gpu": "2"},
        "limits": {"cpu": "6", "memory": "16Gi", "nvidia.com/gpu": "2"},
    }
    assert container["image"] == "ghcr.io/lab/torch:1"
    assert {
        (t["key"], t["operator"], t.get("value"), t["effect"]) for t in spec["tolerations"]
    } == {
        ("nvidia.com/gpu", "Exists", None, "NoSchedule"),
        ("hub.jupyter.org/dedicated", "Equal", "user", "NoSchedule"),
    }
    assert spec["automountServiceAccountToken"] is False


async def test_the_request_is_read_back_as_the_profile_asks():
    pod = await completed(GPU, user="a/b@x", server="second one")
    pod["metadata"] |= {
        "uid": "u",
        "resourceVersion": "1",
        "namespace": "n",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    request = wire.read_session_pod(pod).request
    assert (request.user, request.server, request.profile) == ("a/b@x", "second one", "l4")
    assert request.requirements.zones == ("us-east-1a",)
    assert request.requirements.gpu_models == ("L4",)
    assert request.requirements.max_usd_per_hour_micro == 3_000_000
    assert request.resources.gpus == 2


async def test_shared_memory_has_the_profiles_size_unless_the_admin_mounts_it():
    pod = await completed(GPU)
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == manifest.SHM_VOLUME]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    mounts = pod["spec"]["containers"][0]["volumeMounts"]
    assert {"name": manifest.SHM_VOLUME, "mountPath": "/dev/shm"} in mounts
    own = a_pod(volume_mounts=[{"name": "shm", "mountPath": "/dev/shm"}])
    assert manifest.SHM_VOLUME not in json.dumps(await completed(GPU, own))


async def test_a_profile_without_gpus_has_none_and_the_admins_own_amounts_do_not_change_that():
    own = a_pod(extra_resource_limits={"nvidia.com/gpu": "8", "smarter-devices/fuse": "1"})
    container = (await completed({"slug": "cpu"}, own))["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"memory": "1Gi", "smarter-devices/fuse": "1"}
    assert "nvidia.com/gpu" not in json.dumps(container)
    assert container["image"] == "hub/default:1"


async def test_the_environment_tells_the_servers_size_and_image():
    variables = {
        v["name"]: v.get("value") for v in (await completed(GPU))["spec"]["containers"][0]["env"]
    }
    assert variables["MEM_LIMIT"] == str(16 << 30)
    assert variables["MEM_GUARANTEE"] == str(12 << 30)
    assert (variables["CPU_GUARANTEE"], variables["CPU_LIMIT"]) == ("3.5", "6.0")
    assert variables["JUPYTER_IMAGE"] == "ghcr.io/lab/torch:1"
    assert variables["HOME"] == "/home/ann"
    plain = (await completed({"slug": "cpu"}))["spec"]["containers"][0]["env"]
    names = [v["name"] for v in plain]
    assert "CPU_LIMIT" not in names
    assert len(names) == len(set(names))


async def test_nothing_the_spawner_still_holds_is_changed():
    pod = a_pod()
    labels, annotations = {"a": "b"}, {"c": "d"}
    tolerations = [V1Toleration(key="mine", operator="Exists")]
    mounts = [V1VolumeMount(name="home", mount_path="/home/ann")]
    limits = {"memory": "1Gi"}
    pod.metadata.labels, pod.metadata.annotations = labels, annotations
    pod.spec.tolerations = tolerations
    pod.spec.containers[0].volume_mounts = mounts
    pod.spec.containers[0].resources = V1ResourceRequirements(limits=limits, requests=limits)
    for _ in range(2):
        await completed(GPU, pod)
    assert (labels, annotations, limits) == ({"a": "b"}, {"c": "d"}, {"memory": "1Gi"})
    assert (len(tolerations), len(mounts)) == (1, 1)


async def test_completing_twice_adds_nothing():
    pod = a_pod()
    once = await completed(GPU, pod)
    assert await completed(GPU, pod) == once


async def test_a_pod_without_a_notebook_is_a_defect():
    pod = a_pod()
    pod.spec.containers = [V1Container(name="other")]
    with pytest.raises(Defect):
        await completed(GPU, pod)


async def test_created_again_a_pod_is_gated_and_placed_nowhere():
    gone = await completed(GPU)
    gone["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    gone["metadata"]["annotations"] |= {
        wire.STATUS_ANNOTATION: "x",
        wire.CLAIM_ANNOTATION: "x",
        wire.RECREATE_ANNOTATION: "x",
        "admin.example/kept": "y",
    }
    gone["spec"] |= {
        "nodeName": "n1",
        "schedulingGates": [],
        "nodeSelector": {wire.PIN_LABEL: "claim-1", "mine": "z"},
    }
    new = manifest.again(gone)
    assert new["spec"]["schedulingGates"] == [{"name": wire.GATE}]
    assert new["spec"]["nodeSelector"] == {"mine": "z"}
    assert "nodeName" not in new["spec"]
    assert set(new["metadata"]) == {"name", "labels", "annotations"}
    kept = set(new["metadata"]["annotations"])
    assert kept & {wire.SESSION_ANNOTATION, "admin.example/kept"} == {
        wire.SESSION_ANNOTATION,
        "admin.example/kept",
    }
    assert not kept & {
        wire.STATUS_ANNOTATION,
        wire.CLAIM_ANNOTATION,
        wire.RECREATE_ANNOTATION,
    }
    gone["spec"]["nodeSelector"] = {wire.PIN_LABEL: "claim-1"}
    assert "nodeSelector" not in manifest.again(gone)["spec"]
