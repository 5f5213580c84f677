import asyncio
import time

import pytest

from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.sim.loop import EPOCH, CountingIds, LoopClock, run


async def traced() -> list[str]:
    trace = []

    async def walker(name):
        for step in range(5):
            trace.append(f"{name}{step}")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(walker(name))
    return trace


def test_the_same_seed_gives_the_same_order():
    assert run(traced, seed=7) == run(traced, seed=7)


def test_different_seeds_give_different_orders():
    assert len({tuple(run(traced, seed=seed)) for seed in range(20)}) > 10


def test_each_task_keeps_its_own_order_whatever_the_seed():
    trace = run(traced, seed=3)
    assert [step for step in trace if step[0] == "a"] == ["a0", "a1", "a2", "a3", "a4"]


def test_a_day_of_sleep_takes_no_time():
    async def sleeper():
        clock = LoopClock()
        before = clock.now()
        await clock.sleep(3 * 86_400)
        return clock.now() - before

    started = time.monotonic()
    assert run(sleeper, seed=0) == 3 * 86_400
    assert time.monotonic() - started < 1


def test_timers_fire_in_order_of_time_at_their_own_time():
    seen = []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        seen.append((seconds, asyncio.get_running_loop().time()))

    async def main():
        await asyncio.gather(*(sleeper(s) for s in (0.3, 0.1, 1e6, 0.2)))

    run(main, seed=5)
    assert seen == [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (1e6, 1e6)]


def test_waiting_for_nothing_is_a_deadlock_that_names_the_tasks():
    async def main():
        asyncio.current_task().set_name("provisioner")
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Defect, match=r"deadlock.*provisioner"):
        run(main, seed=0)


def test_threads_are_refused():
    async def main():
        await asyncio.to_thread(time.time)

    with pytest.raises(Defect, match="Threads"):
        run(main, seed=0)


def test_an_error_of_main_comes_out():
    async def main():
        await asyncio.sleep(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(main, seed=0)


def test_a_virtual_clock_made_late_still_counts_from_time_zero():
    async def main():
        await asyncio.sleep(50)
        return LoopClock().now()

    assert run(main, seed=0) == EPOCH + 50
    assert LoopClock().now() == EPOCH


async def test_the_clock_follows_a_real_loop_from_its_epoch():
    clock = LoopClock(1000.0)
    await clock.sleep(0.02)
    assert 1000.02 <= clock.now() + 1e-3 < 1005


def test_ids_count_up_and_are_labels():
    ids = CountingIds()
    assert [ids.new("claim"), ids.new("jupyter-"), ids.new("claim")] == [
        "claim-00001",
        "jupyter-00002",
        "claim-00003",
    ]
