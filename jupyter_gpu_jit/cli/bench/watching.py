"""The stopwatch: pods, claims and nodes as a watch shows them, each change stamped on arrival.

Used by start.py in a process that does nothing else, so that no stamp waits for somebody's work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ...core import wire
from ...errors import Defect, Expired, Unavailable
from ...ports import CLAIMS, NODES, PODS, Cluster, Json, Kind

Condition = Callable[[], bool]
AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 120.0


@dataclass(slots=True)
class Watching:
    """What is there now. ``when`` gives the moment (monotonic seconds) a condition became true.

    ``pods``: phase by name; ``claims``: whether launched; ``nodes``: whether ready with GPUs.
    """

    cluster: Cluster
    pods: dict[str, str] = field(default_factory=dict)
    claims: dict[str, bool] = field(default_factory=dict)
    nodes: dict[str, bool] = field(default_factory=dict)
    _waiting: dict[asyncio.Future[float], Condition] = field(default_factory=dict)

    def when(self, condition: Condition) -> asyncio.Future[float]:
        """The moment the change arrived that made it true; now, if it is true already."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = condition
        self._look(time.perf_counter())
        return future

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of a start: no pod, no claim, no node."""
        return not (self.pods or self.claims or self.nodes)

    @asynccontextmanager
    async def patience(self, seconds: float = PATIENCE_SECONDS) -> AsyncIterator[None]:
        """Wait for no longer than that. Raises Defect, which says what is there."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise Defect(
                f"Nothing to measure: not done after {seconds:g} s, with {len(self.pods)} pods, "
                f"{len(self.claims)} claims and {len(self.nodes)} nodes."
            ) from error

    async def follow(self, kind: Kind) -> None:
        """Keep up with one kind, for ever."""
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list(kind)
                async for event in self.cluster.watch(kind, resource_version=version):
                    version = event.object["metadata"]["resourceVersion"]
                    self._take(kind, event.type, event.object)
            except Expired:
                version = ""
            except Unavailable:
                # A kind that was defined a moment ago is not served everywhere yet.
                await asyncio.sleep(AGAIN_SECONDS)

    async def _list(self, kind: Kind) -> str:
        listing = await self.cluster.list(kind)
        for obj in listing.items:
            self._take(kind, "ADDED", obj)
        return listing.resource_version

    def _take(self, kind: Kind, change: str, obj: Json) -> None:
        now = time.perf_counter()
        name = obj["metadata"].get("name", "")
        if change == "DELETED":
            self._of(kind).pop(name, None)
        elif change != "BOOKMARK":
            self._note(kind, name, obj)
        self._look(now)

    def _of(self, kind: Kind) -> dict[str, Any]:
        known: dict[Kind, dict[str, Any]] = {
            PODS: self.pods,
            CLAIMS: self.claims,
            NODES: self.nodes,
        }
        return known[kind]

    def _note(self, kind: Kind, name: str, obj: Json) -> None:
        if kind == PODS:
            self.pods[name] = (obj.get("status") or {}).get("phase", "")
        elif kind == CLAIMS:
            self.claims[name] = wire.read_claim(obj).is_true(wire.LAUNCHED)
        else:
            node = wire.read_node(obj)
            self.nodes[name] = node.ready and node.allocatable.gpus > 0

    def _look(self, now: float) -> None:
        for future, condition in list(self._waiting.items()):
            if future.done() or condition():
                del self._waiting[future]
                if not future.done():
                    future.set_result(now)


@asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[Watching]:
    """A stopwatch that runs. Raises, at its end, what stopped it."""
    stopwatch = Watching(cluster)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stopwatch.follow(kind)) for kind in (PODS, CLAIMS, NODES)]
        yield stopwatch
        for task in tasks:
            task.cancel()
