"""Account quotas: how many vCPUs of each class may run, and how many are still free.

EC2 counts running vCPUs by class of instance family, Spot and on-demand apart
(https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html). Whoever makes a
snapshot subtracts what runs and what is on its way; the planner adds a row per quota.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .requirements import CapacityType

STANDARD = "standard"
_LETTERS = re.compile(r"[a-z]+")
# Families whose first letter would put them into another class.
_BY_LETTERS = {
    "g": "g-vt",
    "gr": "g-vt",
    "vt": "g-vt",
    "f": "f",
    "inf": "inf",
    "trn": "trn",
    "dl": "dl",
    "hpc": "hpc",
    "mac": "mac",
    "u": "high-memory",
}
_GENERATION = re.compile(r"p([0-9]+)")
_FIRST_OF_NEWER_P = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """vCPUs of a class that may still be launched; never negative."""

    vcpu_class: str
    capacity_type: CapacityType
    free_vcpus: int


def vcpu_class(instance_type: str, capacity_type: CapacityType) -> str:
    """The class that EC2 counts the type in.

    P5 and later have a Spot quota of their own; on demand all P are one.
    """
    family = instance_type.partition(".")[0]
    letters = _LETTERS.match(family)
    if letters is None:
        return STANDARD
    generation = _GENERATION.match(family)
    if generation:
        newer = int(generation[1]) >= _FIRST_OF_NEWER_P and capacity_type is CapacityType.SPOT
        return "p5" if newer else "p"
    if letters[0].startswith("x"):
        return "x"
    return _BY_LETTERS.get(letters[0], STANDARD)


Limits = Mapping[tuple[str, CapacityType], int]
"""The account's quotas in vCPUs, by class and capacity type."""


def free_quotas(
    limits: Limits,
    used: Iterable[tuple[str, CapacityType]],
    vcpus: Mapping[str, int],
) -> tuple[Quota, ...]:
    """What the quotas leave beside those (instance type, capacity type), running or in flight.

    ``vcpus`` of each type; one that it lacks counts as none. In the order of class and type.
    """
    taken: Counter[tuple[str, CapacityType]] = Counter()
    for name, capacity_type in used:
        taken[vcpu_class(name, capacity_type), capacity_type] += vcpus.get(name, 0)
    return tuple(
        Quota(
            vcpu_class=key[0],
            capacity_type=key[1],
            free_vcpus=max(0, limits[key] - taken[key]),
        )
        for key in sorted(limits)
    )


def left_of(
    quotas: Iterable[Quota], used: Iterable[tuple[str, CapacityType]], vcpus: Mapping[str, int]
) -> tuple[Quota, ...]:
    """The same quotas once these (instance type, capacity type) run as well."""
    free = {(quota.vcpu_class, quota.capacity_type): quota.free_vcpus for quota in quotas}
    return free_quotas(free, used, vcpus)
