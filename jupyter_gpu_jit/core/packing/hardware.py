"""What a session asks of the machine itself, checked in one place for types and for seats.

``Hardware`` is all of a type and layout that these checks look at; market.py makes one for each
type that may be bought, seats.py one for each node that exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..gpus import compute_capability_tenths, nominal_memory_gib
from ..layouts import FRACTION, TIME_SLICED, WHOLE, unit_memory_gib
from ..model import InstanceType, Seat
from ..requirements import Requirements
from .shapes import Shape

GPU_MODEL, GPU_MEMORY, GPU_SHARE, COMPUTE, NVLINK, DRIVER, EFA, ARCHITECTURE = (
    "gpu-model",
    "gpu-memory",
    "gpu-share",
    "compute-capability",
    "nvlink",
    "driver",
    "efa",
    "architecture",
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """``unit_memory_gib`` is of what counts as one GPU; ``mesh_gpus`` are all those of a mesh.

    ``divided``: a GPU of it is less than a card. ``driver_family`` "" asks for nothing.
    """

    architecture: str
    gpu_model: str
    unit_memory_gib: int
    divided: bool
    time_sliced: bool
    nvswitch: bool
    mesh_gpus: int
    driver_family: str
    has_efa: bool


@lru_cache(maxsize=4096)
def _hardware(
    architecture: str,
    gpu_model: str,
    gpu_memory_mib: int,
    layout: str,
    *,
    interconnect: str,
    gpus: int,
    driver_family: str,
    efa_interfaces: int,
) -> Hardware:
    card_gib = nominal_memory_gib(gpu_model, gpu_memory_mib)
    return Hardware(
        architecture=architecture,
        gpu_model=gpu_model,
        unit_memory_gib=unit_memory_gib(layout, card_gib),
        divided=layout != WHOLE or interconnect == FRACTION,
        time_sliced=layout.startswith(TIME_SLICED),
        nvswitch=interconnect == "nvswitch",
        mesh_gpus=gpus if interconnect == "nvlink2-mesh" else 0,
        driver_family=driver_family,
        has_efa=efa_interfaces > 0,
    )


def of_type(kind: InstanceType, layout: str) -> Hardware:
    """What new nodes of that type and layout are."""
    return _of(kind, layout, kind.allocatable.gpus)


def of_seat(seat: Seat) -> Hardware:
    """What a node that exists is."""
    return _of(seat, seat.layout, seat.total.gpus)


def _of(machine: InstanceType | Seat, layout: str, gpus: int) -> Hardware:
    return _hardware(
        machine.architecture,
        machine.gpu_model,
        machine.gpu_memory_mib,
        layout,
        interconnect=machine.gpu_interconnect,
        gpus=gpus,
        driver_family=machine.driver_family,
        efa_interfaces=machine.efa_interfaces,
    )


def hardware_failures(shape: Shape, hardware: Hardware) -> Iterator[str]:
    """Requirements of the shape that the machine does not meet, room aside."""
    needs = shape.needs
    if not shape.cpu_only:
        yield from _gpu_failures(shape, hardware)
    if needs.efa and not hardware.has_efa:
        yield EFA
    if needs.architectures and hardware.architecture not in needs.architectures:
        yield ARCHITECTURE


def _gpu_failures(shape: Shape, hardware: Hardware) -> Iterator[str]:
    needs = shape.needs
    if needs.gpu_models and hardware.gpu_model not in needs.gpu_models:
        yield GPU_MODEL
    if hardware.unit_memory_gib < memory_asked_gib(needs):
        yield GPU_MEMORY
    if hardware.divided and not _takes_share(needs, hardware):
        yield GPU_SHARE
    if compute_capability_tenths(hardware.gpu_model) < needs.min_compute_capability_tenths:
        yield COMPUTE
    if needs.nvlink and not _linked(shape.size.gpus, hardware):
        yield NVLINK
    if hardware.driver_family and hardware.driver_family not in needs.driver_families:
        yield DRIVER


def memory_asked_gib(needs: Requirements) -> int:
    """Least nominal memory of what counts as one GPU; 0 is any."""
    return needs.share.memory_gib if needs.share else needs.gpu_memory_gib


def _takes_share(needs: Requirements, hardware: Hardware) -> bool:
    """A card in time slices is for those to whom others beside them are fine, or known."""
    if needs.share is None:
        return False
    return needs.share.time_sliced or bool(needs.shares_with) or not hardware.time_sliced


def _linked(gpus: int, hardware: Hardware) -> bool:
    """Whether any ``gpus`` of the node that the kubelet may choose are connected by NVLink.

    In a mesh only the whole of it is sure to be: which devices a pod gets is not ours to say.
    """
    return gpus == 1 or hardware.nvswitch or gpus == hardware.mesh_gpus
