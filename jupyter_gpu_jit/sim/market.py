"""A small market and its profiles for simulated worlds: a dozen EC2 sizes instead of hundreds.

Figures of the package's catalogue (``tests/sim/test_market.py`` holds them together), written
out here because the simulator reads no files; Spot is simulated at 60 % below on-demand and
1.5 % dearer per zone, as there. Profiles are those of the demo.
"""

from __future__ import annotations

from ..core.model import InstanceType, Offering, Profile, Resources
from ..core.quantity import GIB, MIB
from ..core.requirements import CapacityPolicy, CapacityType

ZONES = ("us-east-1a", "us-east-1b")

Row = tuple[str, int, int, tuple[int, int, int, int, int, int], str, int, str, int, int]

# name, vCPU, memory MiB, (allocatable millicpu, MiB, pods, volumes; NVMe GB, EFA interfaces),
# GPU, MiB each, link, GPUs, micro-USD/h
_ROWS: tuple[Row, ...] = (
    ("g4dn.xlarge", 4, 16384, (3920, 14481, 29, 23, 125, 0), "T4", 16384, "single", 1, 526_000),
    ("g5.xlarge", 4, 16384, (3920, 14162, 58, 23, 250, 0), "A10G", 22888, "single", 1, 1_006_000),
    (
        "g6.12xlarge",
        48,
        196608,
        (47810, 178933, 234, 31, 3760, 1),
        "L4",
        22888,
        "pcie",
        4,
        4_601_600,
    ),
    ("g6.2xlarge", 8, 32768, (7910, 29317, 58, 31, 450, 0), "L4", 22888, "single", 1, 977_600),
    ("g6.xlarge", 4, 16384, (3920, 14162, 58, 31, 250, 0), "L4", 22888, "single", 1, 804_800),
    ("m7i.large", 2, 8192, (1930, 6903, 29, 31, 0, 0), "", 0, "", 0, 100_800),
    ("m7i.xlarge", 4, 16384, (3920, 14162, 58, 31, 0, 0), "", 0, "", 0, 201_600),
    (
        "p4d.24xlarge",
        96,
        1179648,
        (95690, 1082712, 737, 27, 8000, 4),
        "A100",
        40960,
        "nvswitch",
        8,
        21_957_642,
    ),
    (
        "p4de.24xlarge",
        96,
        1179648,
        (95690, 1082712, 737, 27, 8000, 4),
        "A100",
        81920,
        "nvswitch",
        8,
        27_447_050,
    ),
)


def _offerings(name: str, on_demand: int) -> tuple[Offering, ...]:
    made = []
    for order, zone in enumerate(ZONES):
        spot = -(-on_demand * 400 * (1000 + 15 * order) // 1_000_000)
        prices = ((CapacityType.ON_DEMAND, on_demand), (CapacityType.SPOT, spot))
        made += [
            Offering(instance_type=name, zone=zone, capacity_type=kind, usd_per_hour_micro=price)
            for kind, price in prices
        ]
    return tuple(made)


def _type(row: Row) -> InstanceType:
    name, vcpu, memory, room, model, gpu_memory, link, gpus, price = row
    cpu, allocatable, pods, volumes, disk_gb, efa = room
    return InstanceType(
        name=name,
        vcpu=vcpu,
        memory_mib=memory,
        allocatable=Resources(
            cpu_millicpu=cpu,
            memory_bytes=allocatable * MIB,
            gpus=gpus,
            pods=pods,
            volumes=volumes,
            local_disk_bytes=disk_gb * 10**9,
        ),
        gpu_model=model,
        gpu_memory_mib=gpu_memory,
        gpu_interconnect=link,
        efa_interfaces=efa,
        driver_family="nvidia" if model else "",
        offerings=_offerings(name, price),
    )


TYPES = tuple(_type(row) for row in _ROWS)
"""Instance types by name, in order of name."""


def _profile(slug: str, model: str, cpu: int, memory_gib: int) -> Profile:
    return Profile(
        slug=slug,
        display_name=slug,
        gpus=1 if model else 0,
        gpu_models=(model,) if model else (),
        cpu_guarantee_millicpu=cpu,
        memory_guarantee_bytes=memory_gib * GIB,
        capacity=CapacityPolicy.SPOT_THEN_ON_DEMAND,
    )


CPU = _profile("cpu", "", 1700, 4)
T4 = _profile("t4", "T4", 3000, 12)
L4 = _profile("l4", "L4", 3000, 12)
A100 = _profile("a100", "A100", 8000, 64)
