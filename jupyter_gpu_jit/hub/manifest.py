"""A resolved profile made into a pod: what KubeSpawner built, completed.

Pure but for the pod it is given, which KubeSpawner has just made and nobody else holds. Lists
and mappings inside it may still be the live spawner's own, so they are replaced, never changed.
"""

from __future__ import annotations

from typing import Any

from kubernetes_asyncio.client.models import (
    V1Container,
    V1EmptyDirVolumeSource,
    V1EnvVar,
    V1Pod,
    V1PodSchedulingGate,
    V1ResourceRequirements,
    V1Toleration,
    V1Volume,
    V1VolumeMount,
)

from ..core import wire
from ..core.model import Profile, SessionRequest
from ..core.quantity import format_bytes, format_cpu
from ..core.requirements import Taint
from ..errors import Defect

CONTAINER = "notebook"
SHM_VOLUME, SHM_PATH = "gpu-jit-shm", "/dev/shm"


def session_request(profile: Profile, *, user: str, server: str) -> SessionRequest:
    """The request as the annotation carries it; the API server gives the pod's uid later."""
    return SessionRequest(
        uid="",
        user=user,
        server=server,
        profile=profile.slug,
        resources=profile.resources,
        requirements=profile.requirements,
    )


def complete(pod: V1Pod, profile: Profile, request: SessionRequest) -> V1Pod:
    """The pod with gate, request, sizes and tolerations of the profile. Raises Defect."""
    _mark(pod, request)
    pod.spec.scheduling_gates = [
        V1PodSchedulingGate(name=wire.GATE),
        *(g for g in pod.spec.scheduling_gates or () if g.name != wire.GATE),
    ]
    pod.spec.automount_service_account_token = False
    pod.spec.tolerations = _tolerations(pod.spec.tolerations, wire.GPU_TAINT, wire.USER_TAINT)
    _size(_notebook(pod), profile)
    _share_memory(pod, profile)
    return pod


def _mark(pod: V1Pod, request: SessionRequest) -> None:
    meta = pod.metadata
    meta.labels = {**(meta.labels or {}), wire.SESSION_LABEL: "true"}
    meta.annotations = {
        **(meta.annotations or {}),
        wire.SESSION_ANNOTATION: wire.encode_session(request),
    }


def _notebook(pod: V1Pod) -> V1Container:
    for container in pod.spec.containers:
        if container.name == CONTAINER:
            return container
    raise Defect("KubeSpawner made a pod without a container named notebook.")


def _tolerations(given: list[V1Toleration] | None, *taints: Taint) -> list[V1Toleration]:
    ours = [_toleration(taint) for taint in taints]
    return [*(given or ()), *(t for t in ours if t not in (given or ()))]


def _toleration(taint: Taint) -> V1Toleration:
    if not taint.value:
        return V1Toleration(key=taint.key, operator="Exists", effect=taint.effect)
    return V1Toleration(key=taint.key, operator="Equal", value=taint.value, effect=taint.effect)


def _size(container: V1Container, profile: Profile) -> None:
    requests = {
        "cpu": format_cpu(profile.cpu_guarantee_millicpu),
        "memory": format_bytes(profile.memory_guarantee_bytes),
    }
    limits = {"memory": format_bytes(profile.effective_memory_limit_bytes)}
    if profile.cpu_limit_millicpu is not None:
        limits["cpu"] = format_cpu(profile.cpu_limit_millicpu)
    if profile.gpus:
        requests[wire.GPU_RESOURCE] = limits[wire.GPU_RESOURCE] = str(profile.gpus)
    old = container.resources or V1ResourceRequirements()
    container.resources = V1ResourceRequirements(
        requests={**_others(old.requests), **requests}, limits={**_others(old.limits), **limits}
    )
    if profile.image:
        container.image = profile.image
    container.env = _environment(container.env or [], profile)


def _others(amounts: dict[str, Any] | None) -> dict[str, Any]:
    """Resources an admin added by hand; cpu, memory and GPUs are the profile's alone."""
    mine = ("cpu", "memory", wire.GPU_RESOURCE)
    return {name: amount for name, amount in (amounts or {}).items() if name not in mine}


def _environment(env: list[V1EnvVar], profile: Profile) -> list[V1EnvVar]:
    """The environment with what JupyterHub tells servers about their size and image."""
    told: dict[str, str | None] = {
        "CPU_GUARANTEE": str(profile.cpu_guarantee_millicpu / 1000),
        "CPU_LIMIT": None,
        "MEM_GUARANTEE": str(profile.memory_guarantee_bytes),
        "MEM_LIMIT": str(profile.effective_memory_limit_bytes),
    }
    if profile.cpu_limit_millicpu is not None:
        told["CPU_LIMIT"] = str(profile.cpu_limit_millicpu / 1000)
    if profile.image:
        told["JUPYTER_IMAGE"] = told["JUPYTER_IMAGE_SPEC"] = profile.image
    kept = [variable for variable in env if variable.name not in told]
    return [*kept, *(V1EnvVar(name=k, value=v) for k, v in told.items() if v is not None)]


def _share_memory(pod: V1Pod, profile: Profile) -> None:
    """A /dev/shm of the profile's size: the container runtime's own has 64 MiB."""
    notebook = _notebook(pod)
    mounts = notebook.volume_mounts or []
    if any(mount.mount_path == SHM_PATH for mount in mounts):
        return
    size = format_bytes(profile.effective_shared_memory_bytes)
    medium = V1EmptyDirVolumeSource(medium="Memory", size_limit=size)
    pod.spec.volumes = [
        *(pod.spec.volumes or ()),
        V1Volume(name=SHM_VOLUME, empty_dir=medium),
    ]
    notebook.volume_mounts = [*mounts, V1VolumeMount(name=SHM_VOLUME, mount_path=SHM_PATH)]


def again(pod: dict[str, Any]) -> dict[str, Any]:
    """A manifest from a pod that is gone: as it was asked for, gated and placed nowhere.

    Used after a hub restart, when the manifest that was sent is no longer in memory.
    """
    meta, spec = pod["metadata"], dict(pod["spec"])
    ours = (wire.SESSION_ANNOTATION,)
    annotations = {
        name: text
        for name, text in (meta.get("annotations") or {}).items()
        if not name.startswith(f"{wire.GROUP}/") or name in ours
    }
    selector = {k: v for k, v in (spec.get("nodeSelector") or {}).items() if k != wire.PIN_LABEL}
    for name in ("nodeName", "nodeSelector", "priority", "preemptionPolicy"):
        spec.pop(name, None)
    spec["schedulingGates"] = [{"name": wire.GATE}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": meta["name"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": annotations,
        },
        "spec": {**spec, "nodeSelector": selector} if selector else spec,
    }
