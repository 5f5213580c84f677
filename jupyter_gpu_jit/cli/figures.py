"""``gpu-jit bench``: figures measured now, each beside its aim.

Called by ``offline``. ``start`` measures our own share of a start: everything except the cloud,
the boot of a machine and the image, which are instant here. It runs the real provisioner in
real time on the in-memory Kubernetes API; the rows say so in ``beside``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..adapters.system import RandomIds, SystemClock
from ..core import wire
from ..errors import UserError
from ..ports import CLAIMS, NODES, PODS, Instance
from ..provisioner.runtime import Provisioner, Settings
from ..sim.binder import Binder
from ..sim.boot import BootModel, exactly
from ..sim.cloud import Hooks, SimCloud
from ..sim.cluster import Change, MemoryCluster
from ..sim.kubelet import Kubelet, NodeSpec, PodTimes
from ..sim.market import L4, TYPES
from ..sim.users import pod_name, session_pod

Row = dict[str, Any]
STARTS = 20
NAMESPACE = "gpu-jit"
PATIENCE_SECONDS = 30.0
BESIDE = f"in-memory Kubernetes API, instant simulated nodes, {STARTS} starts"
INSTANT = exactly(0.0)
SETTINGS = Settings(cluster_id="bench", hub_id="bench", empty_grace_seconds=0.0)


def run(name: str) -> list[Row]:
    """The rows of one benchmark. Raises UserError when there is none of that name."""
    if name != "start":
        raise UserError(f"There is no benchmark {name!r}: the only one so far is start.")
    return asyncio.run(_start_rows())


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [("name", "value", "aim", "holds", "beside")]
    for row in rows:
        aim = "-" if row["aim"] is None else f"{row['aim']:g} {row['unit']}"
        value = f"{row['value']:.1f} {row['unit']}"
        lines.append((row["name"], value, aim, "yes" if row["holds"] else "no", row["beside"]))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]
        )
        for line in lines
    )


# --- one start -------------------------------------------------------------------------------


@dataclass(slots=True)
class Moments:
    """When each step of one start was first seen, in seconds of the monotonic clock."""

    seen: dict[str, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self, change: Change) -> None:
        """Take in one change of the cluster."""
        for step in _steps(change):
            self.seen.setdefault(step, time.perf_counter())
        self.news.set()

    async def until(self, step: str) -> None:
        """Wait for a step. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while step not in self.seen:
                self.news.clear()
                await self.news.wait()

    def milliseconds(self, first: str, last: str) -> float:
        """Time between two steps."""
        return 1000 * (self.seen[last] - self.seen[first])


def _steps(change: Change) -> list[str]:
    match change.kind:
        case kind if kind == PODS and change.type == "ADDED":
            return ["requested"]
        case kind if kind == PODS:
            phase = change.object["status"].get("phase")
            return ["gone"] if change.type == "DELETED" else [str(phase)]
        case kind if kind == CLAIMS:
            return _claim_steps(change)
        case kind if kind == NODES and change.type != "DELETED":
            node = wire.read_node(change.object)
            return ["usable"] if node.ready and node.allocatable.gpus else []
    return []


def _claim_steps(change: Change) -> list[str]:
    if change.type == "DELETED":
        return ["given back"]
    launched = wire.read_claim(change.object).is_true(wire.LAUNCHED)
    return ["claimed", *(["launched"] if launched else [])]


class _Bench:
    """The world of the benchmark: everything but our own work takes no time."""

    def __init__(self) -> None:
        clock, ids = SystemClock(), RandomIds()
        self.clock, self.ids = clock, ids
        self.cluster = MemoryCluster(clock, ids, namespaces=(NAMESPACE,))
        steps = ("launch", "boot", "register", "ready", "gpus", "call", "shutdown")
        self.boot = BootModel(**dict.fromkeys(steps, INSTANT))
        self.cloud = SimCloud(
            clock,
            ids,
            random.Random(1),
            TYPES,
            boot=self.boot,
            tags={wire.CLUSTER_TAG: "bench", wire.HUB_TAG: "bench"},
            hooks=Hooks(on_running=self._on_running, on_ended=self._on_ended),
        )
        self._nodes: dict[str, asyncio.Task[None]] = {}

    async def _on_running(self, instance: Instance) -> None:
        spec = NodeSpec(
            instance=instance,
            instance_type=self.cloud.instance_type(instance.instance_type),
            boot=self.boot,
            times=PodTimes(pull=INSTANT, start=INSTANT, stop=INSTANT),
        )
        kubelet = Kubelet(self.cluster, self.clock, self.ids, random.Random(1), spec=spec)
        self._nodes[instance.id] = asyncio.create_task(kubelet.run())

    async def _on_ended(self, instance: Instance) -> None:
        task = self._nodes.pop(instance.id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def run(self, starts: int) -> list[Moments]:
        """That many starts, one after the other, each on a node of its own."""
        provisioner = Provisioner(
            self.cluster, self.cloud, self.clock, ids=self.ids, settings=SETTINGS
        )
        work: Sequence[Callable[[], Any]] = (provisioner.run, Binder(self.cluster, self.clock).run)
        tasks = [asyncio.create_task(call()) for call in work]
        try:
            return [await self._one(number) for number in range(starts)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.cloud.close()

    async def _one(self, number: int) -> Moments:
        moments = Moments()
        self.cluster.on_change[:] = [moments.look]
        user = f"user{number}"
        await self.cluster.create(PODS, session_pod(L4, user=user), namespace=NAMESPACE)
        await moments.until("Running")
        await self.cluster.delete(PODS, pod_name(user), namespace=NAMESPACE)
        await moments.until("given back")
        return moments


# --- rows ------------------------------------------------------------------------------------

# Name, first step, last step, aim in ms (None: no aim of its own).
_SPANS: tuple[tuple[str, str, str, float | None], ...] = (
    ("claim_written", "requested", "claimed", 50.0),
    ("launched", "requested", "launched", None),
    ("ready_to_running", "usable", "Running", None),
    ("whole", "requested", "Running", 300.0),
)


async def _start_rows() -> list[Row]:
    all_moments = (await _Bench().run(STARTS + 1))[1:]  # the first one warms up
    rows: list[Row] = []
    for name, first, last, aim in _SPANS:
        spans = sorted(moments.milliseconds(first, last) for moments in all_moments)
        rows.append(_row(f"{name}_p50_ms", spans[len(spans) // 2], aim))
        rows.append(
            _row(f"{name}_p99_ms", spans[min(len(spans) - 1, len(spans) * 99 // 100)], None)
        )
    return rows


def _row(name: str, value: float, aim: float | None) -> Row:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": "ms",
        "aim": aim,
        "better": "lower",
        "beside": BESIDE,
        "holds": aim is None or value <= aim,
    }
