"""``bench start``: our own share of a start, where the cloud, the boot and the image take no time.

Three measurements on a stage: one start after the other, each on a node of its own; a hundred at
once; empty nodes going. Called by figures.py; the test runs it on a stage in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from ...core.model import Profile
from ...core.quantity import GIB
from ...errors import Defect
from ...ports import PODS, Cluster
from ...sim.users import pod_name, session_pod
from .rows import Figure, Row, median, percentile
from .watching import Watching, watching

L4 = Profile(
    slug="l4", display_name="L4", gpus=1, gpu_models=("L4",),
    cpu_guarantee_millicpu=3000, memory_guarantee_bytes=12 * GIB,
)  # fmt: skip
# The hundred of the peer's figure: 60 with any GPU, 40 without.
ANY_GPU = Profile(
    slug="gpu", display_name="One GPU", gpus=1,
    cpu_guarantee_millicpu=3000, memory_guarantee_bytes=12 * GIB,
)  # fmt: skip
CPU = Profile(
    slug="cpu", display_name="CPU", cpu_guarantee_millicpu=2000, memory_guarantee_bytes=4 * GIB
)
WITH_GPU_PERCENT = 60
WHOLE_NODE = Profile(
    slug="a100-8", display_name="Eight A100", gpus=8, gpu_models=("A100",),
    cpu_guarantee_millicpu=8000, memory_guarantee_bytes=64 * GIB,
)  # fmt: skip


class Stage(Protocol):
    """Where it is measured: an API server that is watched, and a provisioner to be measured."""

    @property
    def cluster(self) -> Cluster:
        """With all rights."""
        ...

    @property
    def namespace(self) -> str:
        """Of the session pods."""
        ...

    def provisioner(self, empty_grace_seconds: float) -> AbstractAsyncContextManager[None]:
        """One that runs meanwhile; nodes and pods come and go in no time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much is measured; the defaults are what the figures are stated for."""

    starts: int = 200
    at_once: int = 100
    at_once_runs: int = 5
    empty_nodes: int = 8
    empty_runs: int = 5
    empty_grace_seconds: float = 1.0


KARPENTER = "Karpenter 1.14 on the same kind of machine"
Moments = Mapping[str, float]

# First and last moment of a span, its figure.
_SPANS: tuple[tuple[str, str, str, str, float | None], ...] = (
    ("claim_written", "requested", "claimed", f"{KARPENTER}: 1040-1200 ms", 50.0),
    ("launched", "requested", "launched", "bound: claim_written, it comes before", None),
    ("ready_to_running", "usable", "running", "bound: 0 ms, the node is there", None),
    ("whole", "requested", "running", f"{KARPENTER}: 2190-2310 ms", 300.0),
)


async def measure(stage: Stage, counts: Counts, say: Callable[[str], None]) -> list[Row]:
    """All rows. Raises Defect, in a group, when a step does not come."""
    async with watching(stage.cluster) as stopwatch:
        bench = _Bench(stage, stopwatch)
        async with stage.provisioner(0.0):
            await bench.one(CPU, "warm-up")
            say(f"{counts.starts} starts, each on a new node")
            moments = [await bench.one(L4, f"one-{n}") for n in range(counts.starts)]
            say(f"{counts.at_once} at once, {counts.at_once_runs} times")
            crowd = [await bench.at_once(counts.at_once) for _ in range(counts.at_once_runs)]
        async with stage.provisioner(counts.empty_grace_seconds):
            say(f"{counts.empty_nodes} empty nodes, {counts.empty_runs} times")
            empty = [await bench.empty(counts) for _ in range(counts.empty_runs)]
    return [*_span_rows(moments), _crowd_row(crowd, counts), _empty_row(empty, counts)]


def _span_rows(starts: Sequence[Moments]) -> list[Row]:
    rows: list[Row] = []
    for name, first, last, beside, aim in _SPANS:
        spans = [1000 * (moments[last] - moments[first]) for moments in starts]
        p50 = Figure(name=f"{name}_p50_ms", unit="ms", beside=beside, aim=aim)
        p99 = Figure(name=f"{name}_p99_ms", unit="ms", beside=f"{len(spans)} starts; p50 above")
        rows += [p50.row(median(spans)), p99.row(percentile(spans, 99))]
    return rows


def _crowd_row(runs: Sequence[float], counts: Counts) -> Row:
    beside = f"{KARPENTER}: 4.4 s (same pods); median of {len(runs)} runs, {_span(runs)}"
    return Figure(name="hundred_at_once_s", unit="s", beside=beside, aim=2.0).row(median(runs))


def _empty_row(runs: Sequence[float], counts: Counts) -> Row:
    beside = (
        f"{KARPENTER}: 205 s; {counts.empty_nodes} nodes, after a grace of "
        f"{counts.empty_grace_seconds:g} s; median of {len(runs)} runs, {_span(runs)}"
    )
    return Figure(name="empty_nodes_gone_s", unit="s", beside=beside, aim=1.0).row(median(runs))


def _span(runs: Sequence[float]) -> str:
    return f"{min(runs):.2f}-{max(runs):.2f} s"


@dataclass(frozen=True, slots=True)
class _Bench:
    stage: Stage
    stopwatch: Watching

    async def one(self, profile: Profile, user: str) -> Moments:
        """One start and its end; when each step of it was seen."""
        seen, name = self.stopwatch, pod_name(user)
        coming = {
            "requested": seen.when(lambda: name in seen.pods),
            "claimed": seen.when(lambda: bool(seen.claims)),
            "launched": seen.when(lambda: any(seen.claims.values())),
            "running": seen.when(lambda: seen.pods.get(name) == "Running"),
        }
        if profile.gpus:
            coming["usable"] = seen.when(lambda: any(seen.nodes.values()))
        await self._create(profile, user)
        async with self.stopwatch.patience():
            moments = {step: await moment for step, moment in coming.items()}
        await self._end([name])
        return moments

    async def at_once(self, count: int) -> float:
        """Seconds from the first of that many pods until all run."""
        gpus = count * WITH_GPU_PERCENT // 100
        names, seconds = await self._crowd([ANY_GPU] * gpus + [CPU] * (count - gpus))
        await self._end(names)
        return seconds

    async def empty(self, counts: Counts) -> float:
        """Seconds, beyond the grace, from the last pod's end until all the nodes are gone."""
        names, _ = await self._crowd([WHOLE_NODE] * counts.empty_nodes)
        if len(self.stopwatch.nodes) != counts.empty_nodes:
            raise Defect(f"{len(self.stopwatch.nodes)} nodes instead of {counts.empty_nodes}")
        empty, gone = await self._end(names)
        return gone - empty - counts.empty_grace_seconds

    async def _crowd(self, profiles: Sequence[Profile]) -> tuple[list[str], float]:
        """Create them all at once; their names, and how long until all ran."""
        users = [f"crowd-{n:03d}" for n in range(len(profiles))]
        names, seen = [pod_name(user) for user in users], self.stopwatch
        first = seen.when(lambda: bool(seen.pods))
        last = seen.when(lambda: sum(p == "Running" for p in seen.pods.values()) == len(names))
        await asyncio.gather(*map(self._create, profiles, users))
        async with self.stopwatch.patience():
            return names, await last - await first

    async def _create(self, profile: Profile, user: str) -> None:
        body = session_pod(profile, user=user)
        await self.stage.cluster.create(PODS, body, namespace=self.stage.namespace)

    async def _end(self, names: Sequence[str]) -> tuple[float, float]:
        """Delete the pods; when the last of them, and when the last of all, was gone."""
        seen, delete = self.stopwatch, self.stage.cluster.delete
        empty, gone = seen.when(lambda: not seen.pods), seen.when(lambda: seen.is_empty)
        await asyncio.gather(
            *(delete(PODS, n, namespace=self.stage.namespace, grace_seconds=0) for n in names)
        )
        async with self.stopwatch.patience():
            return await empty, await gone
