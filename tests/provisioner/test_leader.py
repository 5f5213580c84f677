"""One leader at a time; it stops itself before anybody else may begin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import LEASES
from jupyter_gpu_jit.provisioner.leader import Leader
from jupyter_gpu_jit.provisioner.settings import Settings
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds, LoopClock, run

LEASE = 15.0


class Cut:
    """A cluster whose wire one process may lose."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.cut:
                raise Unavailable("No answer.")
            return await method(*args, **kwargs)

        return call


class Process:
    """One contender; ``acting`` says whether its work runs."""

    def __init__(self, cluster: MemoryCluster, clock: LoopClock, name: str) -> None:
        self.wire = Cut(cluster)
        self.leader = Leader(self.wire, clock, Settings(identity=name, lease_seconds=LEASE))
        self.clock = clock
        self.acting = False
        self.terms: list[tuple[float, float]] = []
        self.task = asyncio.ensure_future(self.leader.run(self._work))

    async def _work(self) -> None:
        self.acting, began = True, self.clock.now()
        try:
            await asyncio.Event().wait()
        finally:
            self.acting = False
            self.terms.append((began, self.clock.now()))

    async def kill(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def contend(body: Callable[[MemoryCluster, LoopClock], Any]) -> Any:
    async def main() -> Any:
        clock = LoopClock()
        return await body(MemoryCluster(clock, CountingIds()), clock)

    return run(main, seed=1)


async def acts(process: Process, within: float) -> float:
    began = process.clock.now()
    while not process.acting:
        await process.clock.sleep(0.1)
        assert process.clock.now() - began < within, "does not lead in time"
    return process.clock.now() - began


def test_the_second_waits_until_the_first_ones_lease_has_run_out():
    async def body(cluster: MemoryCluster, clock: LoopClock) -> None:
        first = Process(cluster, clock, "one")
        await acts(first, 1)
        second = Process(cluster, clock, "two")
        await clock.sleep(120)
        assert first.acting
        assert not second.acting
        await first.kill()
        waited = await acts(second, 2 * LEASE)
        assert waited >= LEASE - LEASE / 5
        await second.kill()

    contend(body)


def test_a_clean_stop_lets_the_next_one_begin_at_once():
    async def body(cluster: MemoryCluster, clock: LoopClock) -> None:
        first = Process(cluster, clock, "one")
        await acts(first, 1)
        await first.kill()
        await first.leader.release()
        second = Process(cluster, clock, "two")
        assert await acts(second, 5) < 1
        await second.kill()

    contend(body)


def test_a_leader_cut_off_stops_before_the_other_starts_and_leads_again_later():
    async def body(cluster: MemoryCluster, clock: LoopClock) -> None:
        first = Process(cluster, clock, "one")
        await acts(first, 1)
        second = Process(cluster, clock, "two")
        await clock.sleep(30)
        first.wire.cut = True
        await acts(second, 3 * LEASE)
        (term,) = first.terms
        assert term[1] < clock.now() - 1, "they never act together"
        first.wire.cut = False
        await second.kill()
        await acts(first, 3 * LEASE)
        await first.kill()

    contend(body)


def test_a_leader_whose_lease_was_taken_stops():
    async def body(cluster: MemoryCluster, clock: LoopClock) -> None:
        first = Process(cluster, clock, "one")
        await acts(first, 1)
        settings = Settings()
        await cluster.patch(
            LEASES,
            settings.lease_name,
            {"spec": {"holderIdentity": "thief"}},
            namespace=settings.namespace,
        )
        await clock.sleep(LEASE / 2)
        assert not first.acting
        await first.kill()

    contend(body)


def test_what_the_work_raises_ends_the_run():
    async def body(cluster: MemoryCluster, clock: LoopClock) -> None:
        leader = Leader(cluster, clock, Settings(identity="one"))

        async def work() -> None:
            raise ZeroDivisionError

        with contextlib.suppress(ZeroDivisionError):
            await leader.run(work)
            raise AssertionError("not raised")

    contend(body)
