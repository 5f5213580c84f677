"""From DescribeInstanceTypes to instance types, for those that the packaged table lacks.

What a table knows and AWS does not say (how GPUs are linked, which driver they need) is taken
from the packaged type; a type newer than the package is read with careful guesses. Pure; called
by market.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...core.model import InstanceType, Offering, Resources
from ...core.quantity import MIB
from .calls import Json

# Millicpu kept for the kubelet: of the first CPU, the second, the third and fourth, each further.
# Source: the bootstrap script of amazon-eks-ami, get_cpu_millicores_to_reserve.
_CPU_KEPT = ((1, 60), (2, 10), (4, 5))
_CPU_KEPT_OF_MORE_TENTHS = 25
_EVICTION_MIB, _KUBELET_MIB, _KUBELET_MIB_PER_POD = 100, 255, 11
# What a hypervisor and a kernel keep to themselves; Karpenter's default guess.
_VM_OVERHEAD_PERMILLE = 75
# Kept for crash dumps by the kernel of arm64 images, before anything else is counted.
_ARM_CRASH_MIB = 64
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
# Published limits count the root disk, and often network interfaces too.
_VOLUMES_IF_UNSAID = 28


def instance_type(
    body: Json, known: Mapping[str, InstanceType], offerings: Iterable[Offering]
) -> InstanceType | None:
    """The type with those offerings; None for an architecture that no image of ours has."""
    architecture = _architecture(body)
    name = str(body["InstanceType"])
    if architecture is None:
        return None
    base = known.get(name)
    if base is None or not base.allocatable.pods:
        base = _read(body, name, architecture)
    return replace(base, offerings=tuple(offerings))


def _architecture(body: Json) -> str | None:
    said = (body.get("ProcessorInfo") or {}).get("SupportedArchitectures") or ()
    return next((_ARCHITECTURES[name] for name in said if name in _ARCHITECTURES), None)


def _read(body: Json, name: str, architecture: str) -> InstanceType:
    gpu: Json = next(iter((body.get("GpuInfo") or {}).get("Gpus") or ()), {})
    count = int(gpu.get("LogicalGpuCount") or gpu.get("Count") or 0)
    nvidia = str(gpu.get("Manufacturer", "")).upper() == "NVIDIA"
    part = bool(gpu) and not gpu.get("Count")
    network = body.get("NetworkInfo") or {}
    efa = (network.get("EfaInfo") or {}).get("MaximumEfaInterfaces") or 0
    return InstanceType(
        name=name,
        vcpu=int(body["VCpuInfo"]["DefaultVCpus"]),
        memory_mib=int(body["MemoryInfo"]["SizeInMiB"]),
        allocatable=_allocatable(body, count if nvidia else 0),
        architecture=architecture,
        gpu_model=str(gpu.get("Name", "")) if nvidia else "",
        gpu_memory_mib=int((gpu.get("MemoryInfo") or {}).get("SizeInMiB") or 0) if nvidia else 0,
        gpu_interconnect=_interconnect(count, part) if nvidia else "",
        efa_interfaces=int(efa),
        driver_family=("nvidia-grid" if part else "nvidia") if nvidia else "",
        bare_metal=bool(body.get("BareMetal")),
    )


def _interconnect(count: int, part: bool) -> str:
    """The least that can be true: AWS does not tell of links between GPUs."""
    return "fraction" if part else "single" if count == 1 else "pcie"


def _allocatable(body: Json, gpus: int) -> Resources:
    vcpu, memory = int(body["VCpuInfo"]["DefaultVCpus"]), int(body["MemoryInfo"]["SizeInMiB"])
    pods = most_pods(body.get("NetworkInfo") or {})
    disks = (body.get("InstanceStorageInfo") or {}).get("TotalSizeInGB") or 0
    memory -= _ARM_CRASH_MIB if _architecture(body) == "arm64" else 0
    usable = memory * (1000 - _VM_OVERHEAD_PERMILLE) / 1000
    usable -= _EVICTION_MIB + _KUBELET_MIB + _KUBELET_MIB_PER_POD * pods
    return Resources(
        cpu_millicpu=vcpu * 1000 - cpu_kept(vcpu),
        memory_bytes=max(0, int(usable)) * MIB,
        gpus=gpus,
        pods=pods,
        volumes=_volumes(body.get("EbsInfo") or {}),
        local_disk_bytes=int(disks) * 10**9,
    )


def cpu_kept(vcpu: int) -> int:
    """Millicpu that the kubelet keeps of a node with that many."""
    kept, before = 0, 0
    for until, each in _CPU_KEPT:
        kept += each * max(0, min(vcpu, until) - before)
        before = until
    return kept + max(0, vcpu - before) * _CPU_KEPT_OF_MORE_TENTHS // 10


def most_pods(network: Json) -> int:
    """Pods with addresses of their own: those of all interfaces but one each, and two besides."""
    cards = network.get("NetworkCards") or ()
    first = int(network.get("DefaultNetworkCardIndex") or 0)
    card: Json = next((c for c in cards if c.get("NetworkCardIndex") == first), {})
    interfaces = card.get("MaximumNetworkInterfaces") or network.get("MaximumNetworkInterfaces")
    addresses = int(network.get("Ipv4AddressesPerInterface") or 1)
    return int(interfaces or 1) * (addresses - 1) + 2


def _volumes(body: Json) -> int:
    most = int(body.get("MaximumEbsAttachments") or _VOLUMES_IF_UNSAID)
    taken = 2 if body.get("AttachmentLimitType") == "shared" else 1
    return max(0, most - taken)
