"""The cache never goes back in time, reads its own writes, and never gives up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jupyter_gpu_jit.errors import TransientError
from jupyter_gpu_jit.ports import PODS, Json, Kind
from jupyter_gpu_jit.provisioner.informer import Informer
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds, LoopClock, run
from jupyter_gpu_jit.sim.objects import Rules


def pod(name: str) -> Json:
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "notebook", "image": "image"}]},
    }


def version(obj: Json) -> str:
    return obj["metadata"]["resourceVersion"]


class Fixture:
    def __init__(self) -> None:
        self.clock = LoopClock()
        self.cluster = MemoryCluster(self.clock, CountingIds())
        self.changes = 0
        self.informer: Informer[str] = Informer(
            self.cluster, self.clock, PODS, read=version, changed=self._changed
        )

    def _changed(self) -> None:
        self.changes += 1

    async def create(self, name: str) -> Json:
        return await self.cluster.create(PODS, pod(name), namespace="gpu-jit")


def with_fixture(body: Any) -> None:
    async def main() -> None:
        await body(Fixture())

    run(main, seed=1)


def test_an_answer_to_our_own_write_counts_at_once_and_a_late_event_does_not_undo_it():
    async def body(it: Fixture) -> None:
        old = await it.create("a")
        new = await it.cluster.patch(
            PODS, "a", {"metadata": {"labels": {"x": "y"}}}, namespace="gpu-jit"
        )
        it.informer.observe(new)
        it.informer.observe(old)
        assert it.informer.get("a", "gpu-jit") == version(new)
        assert it.changes == 1

    with_fixture(body)


def test_what_is_gone_is_not_brought_back_by_a_late_event():
    async def body(it: Fixture) -> None:
        seen = await it.create("a")
        it.informer.observe(seen)
        await it.cluster.delete(PODS, "a", namespace="gpu-jit")
        await it.informer.relist()
        assert it.informer.get("a", "gpu-jit") is None
        it.informer.observe(seen)
        assert it.informer.get("a", "gpu-jit") is None
        again = await it.create("a")
        it.informer.observe(again)
        assert it.informer.get("a", "gpu-jit") == version(again)

    with_fixture(body)


def test_it_follows_and_lists_again_when_its_place_in_history_is_gone():
    async def body(it: Fixture) -> None:
        await it.create("a")
        task = asyncio.ensure_future(it.informer.run())
        await it.informer.synced.wait()
        assert list(it.informer) != []
        it.cluster.compact()
        await it.create("b")
        await it.cluster.delete(PODS, "a", namespace="gpu-jit")
        while it.informer.get("b", "gpu-jit") is None or it.informer.get("a", "gpu-jit"):
            await it.clock.sleep(1)
        for number in range(50):
            await it.create(f"other-{number}")
        it.cluster.compact()
        await it.create("c")
        while it.informer.get("c", "gpu-jit") is None:
            await it.clock.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_fixture(body)


def test_a_list_from_a_server_that_is_behind_is_not_believed():
    async def body(it: Fixture) -> None:
        mark = it.cluster.version + 1
        it.informer.not_before = mark
        with pytest.raises(TransientError, match="out of date"):
            await it.informer.relist()
        assert not it.informer.synced.is_set()
        await it.create("a")
        assert it.cluster.version == mark
        await it.informer.relist()
        assert it.informer.get("a", "gpu-jit") == str(mark)

    with_fixture(body)


def test_objects_of_other_namespaces_are_not_seen_when_one_is_given():
    async def body(it: Fixture) -> None:
        informer: Informer[str] = Informer(
            it.cluster, it.clock, PODS, read=version, changed=it._changed, namespace="default"
        )
        task = asyncio.ensure_future(informer.run())
        await informer.synced.wait()
        await it.create("a")
        await it.cluster.create(PODS, pod("b"), namespace="default")
        while informer.get("b", "default") is None:
            await it.clock.sleep(1)
        assert len(list(informer)) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_fixture(body)


def test_a_kind_that_is_not_installed_yet_is_waited_for():
    async def body(it: Fixture) -> None:
        later = Kind("later.example", "v1", "things", "Thing", False)
        informer: Informer[str] = Informer(
            it.cluster, it.clock, later, read=version, changed=it._changed
        )

        async def install() -> None:
            await it.clock.sleep(100)
            it.cluster.register(Rules(kind=later))

        task = asyncio.ensure_future(informer.run())
        async with asyncio.timeout(130):
            await asyncio.gather(install(), informer.synced.wait())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_fixture(body)
