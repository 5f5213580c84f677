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
SECOND: tuple[str, ...] = ("alloc_cpu_m", "alloc_memory_mib", "alloc_pods", "ebs_max_attachments")
SECOND += ("usage_classes", "bare_metal")


def read(path: Path) -> dict[str, Mapping[str, str]]:
    """Rows by instance type."""
    with path.open(newline="", encoding="utf-8") as lines:
        return {row["type"]: row for row in csv.DictReader(lines)}


def build(types: Path, extra: Path, out: Path) -> int:
    """Write the catalogue; the number of types. Raises KeyError when a type lacks its extra row."""
    first, second = read(types), read(extra)
    with out.open("w", newline="", encoding="utf-8") as lines:
        lines.write(HEADER)
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow([RENAMED.get(name, name) for name in (*FIRST, *SECOND)])
        for name in sorted(first):
            writer.writerow([*(first[name][c] for c in FIRST), *(second[name][c] for c in SECOND)])
    return len(first)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: build_catalogue.py TYPES.csv EXTRA.csv OUT.csv")
    count = build(*map(Path, sys.argv[1:]))
    sys.stderr.write(f"{count} instance types\n")
