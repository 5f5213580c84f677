"""Layouts: what a node's GPUs are divided into, alike for all of them and fixed at launch.

A layout is a name ("" for whole GPUs, ``mig-1g.10gb``, ``time-sliced-4``) that travels on claims
and launch requests; whatever the layout, a node advertises plain ``nvidia.com/gpu``, and one of
them is one unit. The planner chooses among ``layouts_of``; snapshot and provisioner ask
``units`` and ``room_on`` what a node of a type and layout can have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .gpus import nominal_memory_gib
from .model import InstanceType, Node, Resources
from .quantity import MIB

WHOLE = ""
MIG_PREFIX, TIME_SLICED = "mig-", "time-sliced-"
TIME_SLICES = (2, 4, 8)
FRACTION = "fraction"
_NAME = re.compile(r"(?:mig-[1-7]g\.([0-9]{1,3})gb|time-sliced-([1-9][0-9]?))?")

# By model and nominal memory: profile -> instances per GPU, of those that give at least two.
# Source: NVIDIA Multi-Instance GPU User Guide, "Supported GPU Profiles". Memory is what the name
# of the profile says.
MIG: dict[tuple[str, int], dict[str, int]] = {
    ("A30", 24): {"1g.6gb": 4, "2g.12gb": 2},
    ("A100", 40): {"1g.5gb": 7, "1g.10gb": 4, "2g.10gb": 3, "3g.20gb": 2},
    ("A100", 80): {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2},
    ("H100", 80): {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2},
    ("H200", 141): {"1g.18gb": 7, "1g.35gb": 4, "2g.35gb": 3, "3g.71gb": 2},
    ("B200", 192): {"1g.23gb": 7, "1g.45gb": 4, "2g.45gb": 3, "3g.90gb": 2},
}


@dataclass(frozen=True, slots=True)
class Layout:
    """``units_per_gpu`` units of ``unit_memory_gib`` (nominal) each on every GPU of a node."""

    name: str
    units_per_gpu: int
    unit_memory_gib: int

    @property
    def time_sliced(self) -> bool:
        """Whether its units share a GPU without a wall between them."""
        return self.name.startswith(TIME_SLICED)


def whole(kind: InstanceType) -> Layout:
    """The layout of a type as it comes."""
    return Layout(WHOLE, 1, nominal_memory_gib(kind.gpu_model, kind.gpu_memory_mib))


def layouts_of(kind: InstanceType) -> Iterator[Layout]:
    """All layouts a node of that type can be launched with, whole first.

    Parts of a card are not divided again, nor are cards of another maker.
    """
    plain = whole(kind)
    yield plain
    if not kind.allocatable.gpus or kind.gpu_interconnect == FRACTION or is_foreign(kind):
        return
    memory_gib = plain.unit_memory_gib
    for profile, per_gpu in MIG.get((kind.gpu_model, memory_gib), {}).items():
        name = MIG_PREFIX + profile
        yield Layout(name, per_gpu, unit_memory_gib(name, memory_gib))
    for slices in TIME_SLICES:
        name = f"{TIME_SLICED}{slices}"
        yield Layout(name, slices, unit_memory_gib(name, memory_gib))


def is_foreign(kind: InstanceType) -> bool:
    """Whether its cards are of a maker whose sessions we do not know how to serve."""
    return kind.gpu_model.startswith("radeon")


def unit_memory_gib(name: str, card_gib: int) -> int:
    """Nominal memory of one unit of a card in that layout; 0 for a name that is none."""
    found = _NAME.fullmatch(name)
    if found is None:
        return 0
    memory, slices = found.groups()
    return int(memory) if memory else card_gib // int(slices or 1)


def layout_named(kind: InstanceType, name: str) -> Layout | None:
    """The type's layout of that name; None when it cannot have it."""
    return next((layout for layout in layouts_of(kind) if layout.name == name), None)


def units(kind: InstanceType, name: str) -> int:
    """GPUs that a node of that type and layout advertises; 0 when it cannot have the layout."""
    layout = whole(kind) if name == WHOLE else layout_named(kind, name)
    return kind.allocatable.gpus * layout.units_per_gpu if layout else 0


def room_of(kind: InstanceType, name: str) -> Resources:
    """What pods can use on a new node of that type and layout; nothing if there is no such."""
    if name == WHOLE:
        return kind.allocatable
    count = units(kind, name)
    return replace(kind.allocatable, gpus=count) if count else Resources()


def room_on(node: Node, kind: InstanceType | None, name: str) -> Resources:
    """What pods can use on a node that exists: what it says, as far as that can be true.

    A node has no more GPUs than its type's layout, and no more CPU and memory than the machine.
    It does not tell of volumes and disks: those are the type's. An unknown type is believed.
    """
    if kind is None:
        return node.allocatable
    most = replace(
        room_of(kind, name),
        cpu_millicpu=kind.vcpu * 1000,
        memory_bytes=kind.memory_mib * MIB,
        pods=node.allocatable.pods,
    )
    return node.allocatable.at_most(most)
