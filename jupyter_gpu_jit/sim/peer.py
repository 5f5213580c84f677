"""The workloads on which the peer was measured, with what its own program planned.

Used by ``gpu-jit bench plan`` and by the tests of baselines.py. The figures are those of the
scheduler of kubernetes-sigs/karpenter (commit 2266468 of 2026-08-20) called on all pods at once,
over 58 EC2 types at the on-demand prices of us-east-1 of 2026-07-20 (the packaged catalogue has
the same prices and allocatable sizes); the optima are those of an integer program over all
fillings. No daemonsets, no root disks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..core.model import InstanceType, Resources, SessionRequest
from ..core.nodes import SESSION_TOLERATIONS
from ..core.quantity import GIB
from ..core.requirements import CapacityPolicy, Requirements

FAMILIES = frozenset(("m5", "c5", "r5", "g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """So many sessions alike; ``gib`` of memory; no models means any GPU."""

    count: int
    gpus: int = 0
    cpu: int
    gib: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A row of the table: USD per hour of the peer's plan and of the optimum, to the cent."""

    name: str
    asks: tuple[Ask, ...]
    peer_usd: float
    optimum_usd: float


_GPU1 = Ask(count=3, gpus=1, cpu=8, gib=16)
_CPU4 = Ask(count=5, cpu=4, gib=8)
_GPU8 = Ask(count=2, gpus=8, cpu=64, gib=512)
_CLASS = (
    Ask(count=20, cpu=2, gib=4),
    Ask(count=12, gpus=1, cpu=4, gib=16),
    Ask(count=4, gpus=2, cpu=8, gib=32),
    Ask(count=3, gpus=4, cpu=24, gib=96),
    Ask(count=1, gpus=8, cpu=64, gib=512),
)


def _small(count: int, *models: str) -> tuple[Ask, ...]:
    return (Ask(count=count, gpus=1, cpu=3, gib=12, models=models),)


def _workload(name: str, peer: float, optimum: float, *asks: Ask) -> Workload:
    return Workload(name=name, asks=asks, peer_usd=peer, optimum_usd=optimum)


TEN_PODS = _workload("ten-pods", 30.61, 30.3128, _GPU1, _CPU4, _GPU8)
TABLE = (
    TEN_PODS,
    _workload("ten-pods-gpu1-only", 3.912, 3.612, _GPU1),
    _workload("ten-pods-cpu-only", 1.530, 1.360, _CPU4),
    _workload("two-a10g", 5.672, 2.012, Ask(count=2, gpus=1, cpu=2, gib=13, models=("A10G",))),
    _workload("small-gpu-x4", 3.912, 2.104, *_small(4)),
    _workload("small-gpu-x5", 13.350, 2.630, *_small(5)),
    _workload("small-gpu-x8", 13.350, 4.208, *_small(8)),
    _workload("small-gpu-x20", 30.613, 10.520, *_small(20)),
    _workload("small-a10g-x20", 38.248, 20.120, *_small(20, "A10G")),
    _workload("mid-gpu-x6", 13.350, 4.512, Ask(count=6, gpus=1, cpu=6, gib=24)),
    _workload("class-40", 66.75, 41.93, *_CLASS),
    _workload("class-400", 667.52, 419.34, *(replace(a, count=10 * a.count) for a in _CLASS)),
    _workload("burst-100", 97.36, 35.54, *_small(60), Ask(count=40, cpu=2, gib=4)),
)


def peer_types(types: Iterable[InstanceType]) -> tuple[InstanceType, ...]:
    """Of a catalogue, what the peer was given: its 58 types, on-demand only."""
    wanted = (t for t in types if t.name.partition(".")[0] in FAMILIES and not t.bare_metal)
    return tuple(kind.on_demand_only() for kind in wanted)


def sessions(asks: Sequence[Ask]) -> tuple[SessionRequest, ...]:
    """The sessions of a workload."""
    return tuple(
        SessionRequest(
            uid=f"{kind}-{number}",
            user=f"user-{kind}-{number}",
            resources=Resources(
                gpus=ask.gpus, cpu_millicpu=1000 * ask.cpu, memory_bytes=ask.gib * GIB, pods=1
            ),
            requirements=Requirements(
                gpu_models=ask.models,
                capacity=CapacityPolicy.ON_DEMAND,
                tolerations=SESSION_TOLERATIONS,
            ),
        )
        for kind, ask in enumerate(asks)
        for number in range(ask.count)
    )
