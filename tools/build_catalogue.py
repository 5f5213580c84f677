#!/usr/bin/env python3
"""Rebuilds the package's instance catalogue from two CSV files of facts.

Run by hand when the facts change: ``tools/build_catalogue.py TYPES.csv EXTRA.csv OUT.csv``.
The same input gives the same bytes, and one line is one instance type, so that a new edition
can be read as a diff.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

HEADER = """\
# EC2 instance types of us-east-1: facts only, made by tools/build_catalogue.py, do not edit.
# usd_per_hour: on-demand, Linux, shared tenancy; empty where no such price is published.
# Spot prices are not in here: they move by the hour and by zone.
# gpus, gpu_memory_mib: logical GPUs a container can be given, and the memory of one as reported.
# gpu_interconnect "fraction": the one logical GPU is a part of a card (g6f, gr6f).
# alloc_*: what pods can use after kubelet and eviction overheads and a 7.5 % VM memory margin.
# ebs_volumes: EBS volumes that pods can attach: the published limit without the root disk and,
# where network interfaces count against it too (ebs_limit_kind shared), without the second
# interface that a VPC CNI attaches at once. efa: most EFA interfaces. local_nvme_gb: all disks.
# driver: what a node's image must bring: nvidia, or nvidia-grid for fractions of a card (public
# EC2 user guide, NVIDIA drivers for your EC2 instance: g6f and gr6f need a GRID driver).
# Sources (numbers only; both projects are Apache-2.0): the EC2 DescribeInstanceTypes snapshot
# in moto 5.2.5, and karpenter-provider-aws at 1d927085dd81 (price table of 2026-07-20 and
# instance-type reference page). gpu_interconnect was filled in by hand from public descriptions.
"""
RENAMED = {"on_demand_usd_hour": "usd_per_hour"}
FIRST: tuple[str, ...] = (
    "type",
    "vcpu",
    "memory_mib",
    "arch",
    "gpus",
    "gpu_model",
    "gpu_memory_mib",
)
FIRST += ("gpu_interconnect", "on_demand_usd_hour")
SECOND: tuple[str, ...] = ("alloc_cpu_m", "alloc_memory_mib", "alloc_pods")
SECOND += ("local_nvme_gb", "usage_classes", "bare_metal")
COUNTED: tuple[str, ...] = ("efa", "ebs_volumes", "driver")


def read(path: Path) -> dict[str, Mapping[str, str]]:
    """Rows by instance type."""
    with path.open(newline="", encoding="utf-8") as lines:
        return {row["type"]: row for row in csv.DictReader(lines)}


def counted(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[str, str, str]:
    """What follows from both rows: EFA interfaces, EBS volumes for pods, driver family."""
    taken = 2 if second["ebs_limit_kind"] == "shared" else 1
    volumes = max(int(second["ebs_max_attachments"] or 0) - taken, 0)
    return first["efa"], str(volumes), driver(first)


def driver(row: Mapping[str, str]) -> str:
    """The driver family of the type's GPUs; none for those of another maker."""
    if not row["gpu_model"] or row["gpu_model"].startswith("radeon"):
        return ""
    return "nvidia-grid" if row["gpu_interconnect"] == "fraction" else "nvidia"


def build(types: Path, extra: Path, out: Path) -> int:
    """Write the catalogue; the number of types. Raises KeyError when a type lacks its extra row."""
    first, second = read(types), read(extra)
    with out.open("w", newline="", encoding="utf-8") as lines:
        lines.write(HEADER)
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow([RENAMED.get(name, name) for name in (*FIRST, *SECOND, *COUNTED)])
        for name in sorted(first):
            one, two = first[name], second[name]
            known = (*(one[c] for c in FIRST), *(two[c] for c in SECOND))
            writer.writerow([*known, *counted(one, two)])
    return len(first)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: build_catalogue.py TYPES.csv EXTRA.csv OUT.csv")
    count = build(*map(Path, sys.argv[1:]))
    sys.stderr.write(f"{count} instance types\n")
