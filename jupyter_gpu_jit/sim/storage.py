"""Volume claims, volumes and storage classes as the API server treats them: defaults, what stays.

Used by ``sim.objects`` only; what controllers make of them is in ``sim.volumes``. Of the real
server's checks there are only those that the contract suite has seen there.
"""

from __future__ import annotations

from typing import Any

from ..errors import Rejected

Json = dict[str, Any]

_FIXED_IN_CLASS = ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")


def prepare_claim(claim: Json) -> None:
    """A new PersistentVolumeClaim. Raises Rejected."""
    spec = claim.setdefault("spec", {})
    _require(spec, "spec.accessModes", "accessModes")
    _require(spec, "spec.resources.requests.storage", "resources", "requests", "storage")
    spec.setdefault("volumeMode", "Filesystem")
    claim["status"] = {"phase": "Pending"}


def check_claim(old: Json, new: Json) -> None:
    """A claim is given its volume once; other than that it stays as it is. Raises Rejected."""
    before = dict(old["spec"])
    if not before.get("volumeName") and "volumeName" in new["spec"]:
        before["volumeName"] = new["spec"]["volumeName"]
    if before != new["spec"]:
        raise _invalid("spec: Forbidden: spec is immutable after creation")


def prepare_volume(volume: Json) -> None:
    """A new PersistentVolume. Raises Rejected."""
    spec = volume.setdefault("spec", {})
    _require(spec, "spec.accessModes", "accessModes")
    _require(spec, "spec.capacity", "capacity", "storage")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    volume["status"] = {"phase": "Pending"}


def check_volume(old: Json, new: Json) -> None:
    """A volume that is somewhere stays there. Raises Rejected."""
    before = old["spec"].get("nodeAffinity")
    if before and new["spec"].get("nodeAffinity") != before:
        raise _invalid("spec.nodeAffinity: Invalid value: field is immutable")


def prepare_class(kind: Json) -> None:
    """A new StorageClass. Raises Rejected."""
    _require(kind, "provisioner", "provisioner")
    kind.setdefault("reclaimPolicy", "Delete")
    kind.setdefault("volumeBindingMode", "Immediate")


def check_class(old: Json, new: Json) -> None:
    """What volumes are made by may not change under them. Raises Rejected."""
    for key in _FIXED_IN_CLASS:
        if old.get(key) != new.get(key):
            raise _invalid(f"{key}: Forbidden: updates to {key} are forbidden.")


def _require(body: Json, name: str, *path: str) -> None:
    value: Any = body
    for key in path:
        value = (value or {}).get(key)
    if not value:
        raise _invalid(f"{name}: Required value")


def _invalid(message: str) -> Rejected:
    return Rejected(message, reason="Invalid")
