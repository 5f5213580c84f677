"""What EC2 sells: package data and its reader.

Used where no cloud is asked: demo, simulator, plans. Not part of core because it reads a file.
Rebuilt by tools/build_catalogue.py.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files

from ..core.model import InstanceType, Offering, Resources
from ..core.quantity import MIB, usd_to_micro
from ..core.requirements import CapacityType
from ..errors import Defect, GpuJitError

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
# Each further zone is this much dearer on Spot, so that zones differ and ties are rare.
_SPOT_SPREAD_PER_ZONE_PERMILLE = 15

Row = dict[str, str]


def instance_types(
    *,
    zones: Sequence[str] = ZONES,
    spot_discount: float = 0.6,
    families: Collection[str] | None = None,
) -> tuple[InstanceType, ...]:
    """Every type of the catalogue, sorted by name, with offerings in ``zones``.

    On-demand prices are published ones. **Spot prices are simulated**: on-demand less
    ``spot_discount`` (a share of 1), 1.5 % more per zone in the order given. A type without a
    published price has no offerings. ``families`` (``"g6"``) narrows the answer; None is all.
    Raises Defect when the discount is not below 1 or is negative, or the file is broken.
    """
    if not 0 <= spot_discount < 1:
        raise Defect(f"A Spot discount of {spot_discount} is not between 0 and 1.")
    wanted = None if families is None else frozenset(families)
    return _instance_types(tuple(zones), spot_discount, wanted)


@lru_cache(maxsize=16)
def _instance_types(
    zones: tuple[str, ...], spot_discount: float, families: frozenset[str] | None
) -> tuple[InstanceType, ...]:
    rows = _rows()
    try:
        return tuple(
            _read_type(row, zones, spot_discount)
            for row in rows
            if families is None or row["type"].partition(".")[0] in families
        )
    except (ValueError, KeyError, AttributeError, TypeError, GpuJitError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> Defect:
    return Defect(
        f"The catalogue of instance types is broken ({error}); install jupyter_gpu_jit again.",
        reason="CatalogueBroken",
    )


@lru_cache(maxsize=1)
def _rows() -> tuple[Row, ...]:
    try:
        text = (files(__package__) / "instance_types.csv").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(error) from error
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(csv.DictReader(lines))


def _read_type(row: Row, zones: Sequence[str], spot_discount: float) -> InstanceType:
    return InstanceType(
        name=row["type"],
        vcpu=int(row["vcpu"]),
        memory_mib=int(row["memory_mib"]),
        allocatable=_allocatable(row),
        architecture=row["arch"],
        gpu_model=row["gpu_model"],
        gpu_memory_mib=int(row["gpu_memory_mib"] or 0),
        gpu_interconnect=row["gpu_interconnect"],
        efa_interfaces=int(row["efa"] or 0),
        driver_family=row["driver"],
        bare_metal=row["bare_metal"] == "1",
        offerings=tuple(_offerings(row, zones, spot_discount)),
    )


def _allocatable(row: Row) -> Resources:
    return Resources(
        cpu_millicpu=int(row["alloc_cpu_m"] or 0),
        memory_bytes=int(row["alloc_memory_mib"] or 0) * MIB,
        gpus=int(row["gpus"]),
        pods=int(row["alloc_pods"] or 0),
        volumes=int(row["ebs_volumes"]),
        local_disk_bytes=int(row["local_nvme_gb"] or 0) * 10**9,
    )


def _offerings(row: Row, zones: Sequence[str], spot_discount: float) -> Iterator[Offering]:
    """On-demand at the published price, Spot at the simulated one, where the usage class allows."""
    if not row["usd_per_hour"]:
        return
    on_demand = usd_to_micro(row["usd_per_hour"])
    spot = on_demand * round((1 - spot_discount) * 1000)
    for order, zone in enumerate(zones):
        dearer = 1000 + order * _SPOT_SPREAD_PER_ZONE_PERMILLE
        prices = {
            CapacityType.ON_DEMAND: on_demand,
            CapacityType.SPOT: -(-spot * dearer // 1_000_000),
        }
        for capacity_type, price in prices.items():
            if capacity_type.value in row["usage_classes"].split("|"):
                yield Offering(
                    instance_type=row["type"],
                    zone=zone,
                    capacity_type=capacity_type,
                    usd_per_hour_micro=price,
                )
