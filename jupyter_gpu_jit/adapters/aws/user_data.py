"""What a node is told when it boots: how to join, with which labels and taints, and its layout.

Pure: templates.py puts the text into a launch template. Equal arguments give equal bytes, because
templates are named by their content. Formats: the NodeConfig of nodeadm
(awslabs.github.io/amazon-eks-ami/nodeadm) in a MIME message, and Bottlerocket's settings
(bottlerocket.dev, "Settings reference") in TOML.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...core import wire
from ...core.layouts import MIG_PREFIX, TIME_SLICED
from ...core.nodes import node_taints
from ...core.requirements import Taint
from ...errors import UserError
from .facts import Facts
from .settings import ImageFamily

LIMIT_BYTES = 16 * 1024
DATA_DEVICE = "/dev/xvdb"
PLUGIN_CONFIG_LABEL = "nvidia.com/device-plugin.config"
"""By this label NVIDIA's device plugin picks the part of its configuration that is a node's."""
_BOUNDARY = "==gpu-jit=="


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How a node is to come up; ``units_per_gpu`` is how many parts the layout makes of a GPU."""

    family: ImageFamily
    capacity_type: str
    gpu_model: str = ""
    gpu_memory_gib: int = 0
    layout: str = ""
    units_per_gpu: int = 1
    data_volume: bool = False
    dead_man_seconds: int = 900


def user_data(facts: Facts, boot: Boot) -> str:
    """The user data in base64. Raises UserError when it is larger than EC2 takes."""
    text = _toml(facts, boot) if boot.family is ImageFamily.BOTTLEROCKET else _mime(facts, boot)
    raw = text.encode()
    if len(raw) > LIMIT_BYTES:
        raise UserError(f"The user data of nodes is {len(raw)} bytes; EC2 takes {LIMIT_BYTES}.")
    return base64.b64encode(raw).decode()


def labels_of(boot: Boot) -> dict[str, str]:
    """What a kubelet may say of itself; type, zone and architecture it knows without us."""
    labels = {wire.CAPACITY_LABEL: boot.capacity_type, wire.PURPOSE_LABEL: "user"}
    if boot.layout:
        labels[wire.LAYOUT_LABEL] = boot.layout
    if boot.layout.startswith(TIME_SLICED):
        labels[PLUGIN_CONFIG_LABEL] = boot.layout
    return labels


def taints_of(boot: Boot) -> tuple[Taint, ...]:
    """Entry taint and standing ones, so that nothing of others slips in before we saw the node."""
    return (wire.UNREGISTERED_TAINT, *node_taints())


# --- Amazon Linux 2023 ----------------------------------------------------------------------------


def _mime(facts: Facts, boot: Boot) -> str:
    parts = [("application/node.eks.aws", _node_config(facts, boot))]
    parts.append(("text/x-shellscript", "\n".join(_script(boot)) + "\n"))
    lines = ["MIME-Version: 1.0", f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"', ""]
    for kind, body in parts:
        lines += [f"--{_BOUNDARY}", f"Content-Type: {kind}; charset=us-ascii", "", body]
    return "\n".join([*lines, f"--{_BOUNDARY}--", ""])


def _node_config(facts: Facts, boot: Boot) -> str:
    """JSON is YAML, and needs no writer of YAML."""
    labels = ",".join(f"{key}={value}" for key, value in sorted(labels_of(boot).items()))
    taints = [wire.taint_json(taint) for taint in taints_of(boot)]
    spec = {
        "cluster": {
            "name": facts.name,
            "apiServerEndpoint": facts.endpoint,
            "certificateAuthority": facts.certificate_authority,
            "cidr": facts.service_cidr,
        },
        "kubelet": {
            "config": {"registerWithTaints": taints},
            "flags": [f"--node-labels={labels}"],
        },
    }
    body = {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec}
    return json.dumps(body, sort_keys=True, indent=1)


def _script(boot: Boot) -> Iterator[str]:
    """Runs before the kubelet does: nodeadm joins the node after cloud-init's final stage."""
    yield "#!/bin/sh"
    yield from _dead_man(boot.dead_man_seconds)
    if boot.data_volume:
        # A volume with images that were pulled before.
        yield "mkdir -p /var/lib/containerd"
        yield f"mount {DATA_DEVICE} /var/lib/containerd"
    if boot.layout.startswith(MIG_PREFIX):
        yield "nvidia-smi -mig 1"
        profiles = ",".join([boot.layout.removeprefix(MIG_PREFIX)] * boot.units_per_gpu)
        yield f"nvidia-smi mig -cgi {profiles} -C"


def _dead_man(seconds: int) -> Iterator[str]:
    """Powers the node off unless a pod was ever there; off means terminated (templates.py).

    A node that joined has pods of DaemonSets at once; one that did not can have none.
    """
    check = '[ -n "$(ls -A /var/log/pods 2>/dev/null)" ] || systemctl poweroff'
    yield (f"systemd-run --unit=gpu-jit-dead-man --on-active={seconds}s /bin/sh -c '{check}'")


# --- Bottlerocket ---------------------------------------------------------------------------------


def _toml(facts: Facts, boot: Boot) -> str:
    kubernetes = {
        "api-server": facts.endpoint,
        "cluster-certificate": facts.certificate_authority,
        "cluster-name": facts.name,
        "cluster-dns-ip": dns_address(facts.service_cidr),
    }
    taints: dict[str, list[str]] = {}
    for taint in taints_of(boot):
        taints.setdefault(taint.key, []).append(f"{taint.value}:{taint.effect}")
    tables = [
        _table("settings.kubernetes", {k: v for k, v in kubernetes.items() if v}),
        _table("settings.kubernetes.node-labels", labels_of(boot)),
        _table("settings.kubernetes.node-taints", taints),
        *_layout_tables(boot),
    ]
    return "\n".join(tables)


def _layout_tables(boot: Boot) -> Iterator[str]:
    plugin = "settings.kubelet-device-plugins.nvidia"
    if boot.layout.startswith(TIME_SLICED):
        replicas = int(boot.layout.removeprefix(TIME_SLICED))
        yield _table(plugin, {"device-sharing-strategy": "time-slicing"})
        yield _table(f"{plugin}.time-slicing", {"replicas": replicas, "rename-by-default": False})
    if boot.layout.startswith(MIG_PREFIX):
        card = f"{boot.gpu_model.lower()}.{boot.gpu_memory_gib}gb"
        yield _table(plugin, {"device-partitioning-strategy": "mig"})
        yield _table(f"{plugin}.mig.profile", {card: boot.layout.removeprefix(MIG_PREFIX)})


def _table(name: str, rows: Mapping[str, object]) -> str:
    """A TOML table; strings, numbers, booleans and lists are written as in JSON."""
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in sorted(rows.items())]
    return "\n".join([f"[{name}]", *lines, ""])


def dns_address(service_cidr: str) -> str:
    """Where EKS puts the cluster's DNS: the tenth address of the services; "" when unknown."""
    if not service_cidr:
        return ""
    return str(ipaddress.ip_network(service_cidr)[10])
