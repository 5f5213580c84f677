"""Crowds of sessions for figures and tests: random hubs, Karpenter's benchmark, a day.

Used by ``gpu-jit bench plan`` and the planner's tests. Pure: all chance comes from the
``random.Random`` that is passed in, so a seed is a workload.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from ..core.gpus import nominal_memory_gib
from ..core.model import InstanceType, Offering, Profile, Resources, SessionRequest
from ..core.nodes import SESSION_TOLERATIONS
from ..core.quantity import GIB, MIB
from ..core.requirements import CapacityPolicy, CapacityType, GpuShare, Requirements

# --- random hubs ---------------------------------------------------------------------------------

CPU_ONLY_SHARE, MODEL_LIST_SHARE, MEMORY_SHARE, NVLINK_SHARE = 0.25, 0.33, 0.25, 0.15
# Of the profiles with one GPU: a part of one is enough, of so many GiB.
PART_SHARE, _PART_GIB = 0.35, (5, 10, 20, 40)
_MODELS = ("T4", "L4", "A10G", "L40S", "A100", "H100")
_MEMORY_GIB = (16, 24, 40, 48, 80)
_GPU_COUNTS, _GPU_WEIGHTS = (1, 2, 4, 8), (60, 18, 14, 8)
_CPUS = (1, 2, 3, 4, 6, 7, 8, 12, 15)
_GIB_PER_CPU = (2, 4, 8)

Want = tuple[Resources, Requirements]
"""Size and requirements: what makes two sessions alike."""


def common_types(types: Sequence[InstanceType]) -> tuple[InstanceType, ...]:
    """Of a catalogue, the families most hubs use (c, m, r and with GPUs g, p), on-demand.

    Without bare metal, arm64 and parts of a GPU.
    """
    return tuple(kind.on_demand_only() for kind in types if _is_common(kind))


def _is_common(kind: InstanceType) -> bool:
    return (
        kind.name[0] in "cmrgp"
        and kind.architecture == "amd64"
        and not kind.bare_metal
        and kind.gpu_interconnect != "fraction"
        and bool(kind.offerings)
    )


def hub_mix(
    dice: Random, types: Sequence[InstanceType], *, shapes: int, sessions: int
) -> tuple[SessionRequest, ...]:
    """Sessions of so many random profiles, each of which some type can serve.

    A quarter is CPU-only; for some with one GPU a part of it is enough; a third of the others
    names models; some ask for memory per GPU or for NVLink; 1 to 8 GPUs.
    """
    wants = [_possible_want(dice, types) for _ in range(shapes)]
    weights = [dice.expovariate(1) + 0.2 for _ in wants]
    drawn = dice.choices(range(shapes), weights, k=sessions)
    return tuple(_session(f"s{number}", wants[i]) for number, i in enumerate(drawn))


def _session(uid: str, want: Want) -> SessionRequest:
    return SessionRequest(uid=uid, user=f"user-{uid}", resources=want[0], requirements=want[1])


def _possible_want(dice: Random, types: Sequence[InstanceType]) -> Want:
    while True:
        want = _cpu_want(dice) if dice.random() < CPU_ONLY_SHARE else _gpu_want(dice)
        if any(_holds(kind, want) for kind in types):
            return want


def _holds(kind: InstanceType, want: Want) -> bool:
    size, needs = want
    if not size.fits_in(kind.allocatable):
        return False
    if size.gpus == 0:
        return True
    if needs.gpu_models and kind.gpu_model not in needs.gpu_models:
        return False
    if needs.nvlink and kind.gpu_interconnect != "nvswitch":
        return False
    return nominal_memory_gib(kind.gpu_model, kind.gpu_memory_mib) >= _memory_gib(needs)


def _memory_gib(needs: Requirements) -> int:
    return max(needs.gpu_memory_gib, needs.share.memory_gib if needs.share else 0)


def _cpu_want(dice: Random) -> Want:
    cpu = dice.choice(_CPUS)
    return _size(0, cpu, cpu * dice.choice(_GIB_PER_CPU)), _needs()


def _gpu_want(dice: Random) -> Want:
    gpus = dice.choices(_GPU_COUNTS, _GPU_WEIGHTS)[0]
    cpu = min(gpus * dice.choice(_CPUS[:7]), 90)
    size = _size(gpus, cpu, cpu * dice.choice(_GIB_PER_CPU))
    return size, replace(_needs(), **_gpu_needs(dice, gpus))


def _gpu_needs(dice: Random, gpus: int) -> dict[str, Any]:
    if gpus == 1 and dice.random() < PART_SHARE:
        return {"share": GpuShare(memory_gib=dice.choice(_PART_GIB))}
    if gpus > 1 and dice.random() < NVLINK_SHARE:
        return {"nvlink": True}
    if dice.random() < MODEL_LIST_SHARE:
        return {"gpu_models": tuple(sorted(dice.sample(_MODELS, dice.randint(1, 3))))}
    return {"gpu_memory_gib": dice.choice(_MEMORY_GIB)} if dice.random() < MEMORY_SHARE else {}


def _size(gpus: int, cpu: int, gib: int) -> Resources:
    return Resources(gpus=gpus, cpu_millicpu=1000 * cpu, memory_bytes=gib * GIB, pods=1)


def _needs(
    gpu_models: tuple[str, ...] = (),
    gpu_memory_gib: int = 0,
    zones: tuple[str, ...] = (),
    capacity: CapacityPolicy = CapacityPolicy.ON_DEMAND,
) -> Requirements:
    return Requirements(
        gpu_models=gpu_models,
        gpu_memory_gib=gpu_memory_gib,
        zones=zones,
        capacity=capacity,
        tolerations=SESSION_TOLERATIONS,
    )


# --- the peer's own benchmark --------------------------------------------------------------------

LINEAR_TYPES = 400
_ZONES = ("test-zone-1", "test-zone-2", "test-zone-3")
_SPOT_ZONES = _ZONES[:2]
_MILLICPU = (100, 250, 500, 1000, 1500)
_MEMORY_MIB = (100, 256, 512, 1024, 2048, 4096)
_LABELS = "abcdefg"


@dataclass(frozen=True, slots=True)
class BenchmarkMix:
    """The pods as sessions, and the class of those of which a node holds at most one."""

    sessions: tuple[SessionRequest, ...]
    one_per_node: Mapping[str, str]


def linear_types() -> tuple[InstanceType, ...]:
    """Karpenter's 400 benchmark types: the i-th has i vCPU, 2i GiB, 10i pods, a linear price.

    ``scheduling_benchmark_test.go`` of kubernetes-sigs/karpenter: 0.1 vCPU and 10 MiB are kept
    back; 0.1 USD per vCPU and per 10**9 bytes; Spot in two zones, on-demand in three, alike.
    """
    return tuple(_linear_type(n) for n in range(1, LINEAR_TYPES + 1))


def _linear_type(vcpu: int) -> InstanceType:
    name, memory = f"linear-{vcpu:03}", 2 * vcpu * GIB
    price = 100_000 * vcpu + memory // 10_000
    slots = [(zone, CapacityType.SPOT) for zone in _SPOT_ZONES]
    slots += [(zone, CapacityType.ON_DEMAND) for zone in _ZONES]
    return InstanceType(
        name=name,
        vcpu=vcpu,
        memory_mib=2048 * vcpu,
        allocatable=Resources(
            cpu_millicpu=1000 * vcpu - 100, memory_bytes=memory - 10 * MIB, pods=10 * vcpu
        ),
        offerings=tuple(
            Offering(instance_type=name, zone=zone, capacity_type=kind, usd_per_hour_micro=price)
            for zone, kind in slots
        ),
    )


def benchmark_mix(dice: Random, pods: int) -> BenchmarkMix:
    """Karpenter's benchmark mix: five fifths of pods of 30 sizes, as our model can say it.

    Plain; spread over zones; spread over hosts; zone affinity; host anti-affinity. What is
    simplified, for both planners alike: a selector is the pod's own label; zones are counted
    out before planning; spread over hosts is one pod per label and node. The remainder of a
    fifth is plain, as there.
    """
    makers = (_plain, _zone_spread, _host_spread, _zone_affinity, _host_anti_affinity)
    fifth, sizes = pods // len(makers), _Sizes(dice)
    counts = [fifth + pods % len(makers), *[fifth] * (len(makers) - 1)]
    made = [sizes.pod(m, n) for m, count in zip(makers, counts, strict=True) for n in range(count)]
    alone = {session.uid: only for session, only in made if only}
    return BenchmarkMix(tuple(session for session, _ in made), alone)


def _plain(dice: Random, seen: Counter[str]) -> tuple[str, str]:
    return "", ""


def _zone_spread(dice: Random, seen: Counter[str]) -> tuple[str, str]:
    """The zone with the fewest pods of that label, the first of these."""
    label = f"spread-{dice.choice(_LABELS)}"
    zone = min(_ZONES, key=lambda z: seen[f"{label}/{z}"])
    seen[f"{label}/{zone}"] += 1
    return zone, ""


def _host_spread(dice: Random, seen: Counter[str]) -> tuple[str, str]:
    return "", f"host-spread-{dice.choice(_LABELS)}"


def _zone_affinity(dice: Random, seen: Counter[str]) -> tuple[str, str]:
    """All pods of a label in one zone: labels go round the zones."""
    return _ZONES[_LABELS.index(dice.choice(_LABELS)) % len(_ZONES)], ""


def _host_anti_affinity(dice: Random, seen: Counter[str]) -> tuple[str, str]:
    return "", "nginx"


_Maker = Callable[[Random, "Counter[str]"], tuple[str, str]]


class _Sizes:
    """Draws pods; ``_wants`` are shared, so that equal ones are the same object."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._seen: Counter[str] = Counter()
        self._wants: dict[tuple[int, int, str], Want] = {}

    def pod(self, maker: _Maker, number: int) -> tuple[SessionRequest, str]:
        """A pod of that kind, and its class of one per node ("" for none)."""
        millicpu, mib = self._dice.choice(_MILLICPU), self._dice.choice(_MEMORY_MIB)
        zone, alone = maker(self._dice, self._seen)
        key = (millicpu, mib, zone)
        if key not in self._wants:
            size = Resources(cpu_millicpu=millicpu, memory_bytes=mib * MIB, pods=1)
            zones, both = (zone,) if zone else (), CapacityPolicy.SPOT_THEN_ON_DEMAND
            self._wants[key] = size, _needs(zones=zones, capacity=both)
        name = maker.__name__.strip("_").replace("_", "-")
        return _session(f"{name}-{number}", self._wants[key]), alone


# --- a day ---------------------------------------------------------------------------------------

MINUTES_PER_DAY = 24 * 60
MEDIAN_LIFE_MINUTES, LIFE_SIGMA = 75, 0.8
_NIGHT_SHARE, _PEAK_HOUR, _WIDTH_HOURS = 0.08, 13.5, 3.6

_Profile = tuple[str, int, int, int, int, tuple[str, ...], int]
# Name, how many of a hundred starts or so, GPUs, CPU, GiB, models, GiB per GPU.
_PROFILES: tuple[_Profile, ...] = (
    ("cpu-small", 10, 0, 1, 4, (), 0),
    ("cpu-medium", 9, 0, 3, 12, (), 0),
    ("cpu-large", 4, 0, 7, 28, (), 0),
    ("cpu-memory", 2, 0, 7, 56, (), 0),
    ("gpu", 12, 1, 3, 12, (), 0),
    ("gpu-more-cpu", 6, 1, 7, 28, (), 0),
    ("gpu-much-memory", 3, 1, 7, 56, (), 0),
    ("t4", 5, 1, 3, 13, ("T4",), 0),
    ("l4", 9, 1, 3, 12, ("L4",), 0),
    ("l4-more-cpu", 5, 1, 7, 28, ("L4",), 0),
    ("a10g", 4, 1, 3, 12, ("A10G",), 0),
    ("l4-or-a10g", 6, 1, 3, 12, ("A10G", "L4"), 0),
    ("24-gb", 6, 1, 3, 13, (), 24),
    ("48-gb", 4, 1, 7, 56, (), 48),
    ("80-gb", 2, 1, 15, 120, (), 80),
    ("two-gpus", 3, 2, 8, 32, (), 0),
    ("four-gpus", 3, 4, 24, 96, (), 0),
    ("four-l4", 2, 4, 16, 64, ("L4",), 0),
    ("a100", 3, 1, 11, 120, ("A100",), 0),
    ("two-a100", 1, 2, 22, 240, ("A100",), 0),
    ("eight-gpus", 1, 8, 64, 256, (), 0),
)


@dataclass(frozen=True, slots=True)
class Stay:
    """A session, and when it starts and ends, in minutes of the day."""

    session: SessionRequest
    start_minute: int
    end_minute: int


def day_of_sessions(dice: Random, sessions: int) -> tuple[Stay, ...]:
    """About so many sessions in a day: Poisson arrivals, most in the afternoon.

    Lives are log-normal with a median of 75 minutes and at least one minute; 21 profiles.
    """
    hourly = [_activity(minute / 60) for minute in range(MINUTES_PER_DAY)]
    scale = sessions / sum(hourly)
    return tuple(
        _stay(dice, minute, number)
        for minute, activity in enumerate(hourly)
        for number in range(_poisson(dice, scale * activity))
    )


def _activity(hour: float) -> float:
    return _NIGHT_SHARE + math.exp(-(((hour - _PEAK_HOUR) / _WIDTH_HOURS) ** 2))


def _poisson(dice: Random, mean: float) -> int:
    """How many, by Knuth's product of uniforms."""
    limit, count, product = math.exp(-mean), 0, dice.random()
    while product > limit:
        count += 1
        product *= dice.random()
    return count


def _stay(dice: Random, minute: int, number: int) -> Stay:
    row = dice.choices(_PROFILES, [row[1] for row in _PROFILES])[0]
    life = max(1, round(dice.lognormvariate(math.log(MEDIAN_LIFE_MINUTES), LIFE_SIGMA)))
    session = replace(_session(f"{minute:04}-{number}", _profile_want(row)), profile=row[0])
    return Stay(replace(session, created_at=60.0 * minute), minute, minute + life)


def _profile_want(row: _Profile) -> Want:
    _, _, gpus, cpu, gib, models, memory = row
    return _size(gpus, cpu, gib), _needs(gpu_models=models, gpu_memory_gib=memory)


def day_profiles() -> tuple[Profile, ...]:
    """The day's profiles as a hub would have them."""
    return tuple(_profile(row) for row in _PROFILES)


def _profile(row: _Profile) -> Profile:
    name, _, gpus, cpu, gib, models, memory = row
    return Profile(
        slug=name,
        display_name=name,
        gpus=gpus,
        gpu_models=models,
        gpu_memory_gib=memory,
        cpu_guarantee_millicpu=1000 * cpu,
        memory_guarantee_bytes=gib * GIB,
        capacity=CapacityPolicy.ON_DEMAND,
    )


def crowd_of_the_day(dice: Random, sessions: int) -> tuple[SessionRequest, ...]:
    """So many sessions of the day's profiles, all at once."""
    rows = dice.choices(_PROFILES, [row[1] for row in _PROFILES], k=sessions)
    return tuple(_session(f"s{n}", _profile_want(row)) for n, row in enumerate(rows))
