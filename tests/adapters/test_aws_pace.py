"""Buckets, shared answers, batches and threads: few calls, in time, and none lost."""

import asyncio
import threading

import pytest

from jupyter_gpu_jit.adapters.aws.gathering import Batch, Shared, chunks
from jupyter_gpu_jit.adapters.aws.pace import Bucket, Pace, Rate
from jupyter_gpu_jit.adapters.aws.threads import Threads
from jupyter_gpu_jit.sim.loop import LoopClock, run


def seconds_of(body):
    """How long ``body(clock)`` takes, in virtual seconds."""

    async def timed():
        clock = LoopClock()
        before = clock.now()
        await body(clock)
        return round(clock.now() - before, 3)

    return run(timed, seed=1)


def test_a_burst_goes_at_once_and_the_rest_at_the_rate():
    async def many(clock):
        bucket = Bucket(clock, Rate(burst=50, per_second=5))
        await asyncio.gather(*(bucket.take() for _ in range(120)))

    assert seconds_of(many) == 14.0


def test_what_was_not_used_is_there_again_up_to_the_burst():
    async def twice(clock):
        bucket = Bucket(clock, Rate(burst=2, per_second=1))
        await bucket.take(2)
        await clock.sleep(100)
        await asyncio.gather(*(bucket.take() for _ in range(3)))

    assert seconds_of(twice) == 101.0


def test_actions_do_not_wait_for_each_other():
    async def mixed(clock):
        pace = Pace(clock)
        await asyncio.gather(*(pace.before("ec2", "CreateFleet") for _ in range(50)))
        await pace.before("ec2", "TerminateInstances")

    assert seconds_of(mixed) == 0.0


def test_a_service_in_trouble_gets_one_call_a_second_until_it_answers():
    async def outage(clock):
        pace = Pace(clock)
        pace.failed("ec2")
        await asyncio.gather(*(pace.before("ec2", "DescribeInstances") for _ in range(11)))
        await pace.before("sqs", "ReceiveMessage")

    async def over(clock):
        pace = Pace(clock)
        pace.failed("ec2")
        pace.answered("ec2")
        await asyncio.gather(*(pace.before("ec2", "DescribeInstances") for _ in range(11)))

    assert seconds_of(outage) == 10.0
    assert seconds_of(over) == 0.0


# --- sharing --------------------------------------------------------------------------------------


def test_nobody_gets_an_answer_that_was_begun_before_they_asked():
    async def listing():
        begun = []

        async def work():
            begun.append(LoopClock().now())
            await asyncio.sleep(1)
            return len(begun)

        shared = Shared(work)
        first = asyncio.create_task(shared.get())
        await asyncio.sleep(0.5)
        others = await asyncio.gather(*(shared.get() for _ in range(10)))
        return await first, others, await shared.get()

    first, others, later = run(listing, seed=3)
    assert (first, set(others), later) == (1, {2}, 3)


def test_one_who_gives_up_takes_the_answer_from_nobody():
    async def listing():
        async def work():
            await asyncio.sleep(1)
            return "all"

        shared = Shared(work)
        one, other = (asyncio.create_task(shared.get()) for _ in range(2))
        await asyncio.sleep(0.1)
        one.cancel()
        return await other

    assert run(listing, seed=3) == "all"


def test_ids_of_one_moment_are_one_batch_and_a_failure_is_everybodys():
    async def ending():
        seen = []

        async def work(ids):
            seen.append(ids)
            if "bad" in ids:
                raise ValueError("refused")

        batch = Batch(LoopClock(), work)
        await asyncio.gather(*(batch.add([f"i-{n}"]) for n in range(3)))
        failed = await asyncio.gather(
            batch.add(["bad"]), batch.add(["good"]), return_exceptions=True
        )
        return seen, failed

    seen, failed = run(ending, seed=3)
    assert seen == [["i-0", "i-1", "i-2"], ["bad", "good"]]
    assert [str(error) for error in failed] == ["refused", "refused"]


def test_lists_are_cut_to_what_a_call_takes():
    assert chunks(list("abcde"), 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert chunks([], 2) == []


# --- threads --------------------------------------------------------------------------------------


async def test_no_more_calls_at_once_than_threads():
    threads, gate, most = Threads(2), threading.Event(), []
    running = set()

    def work(name):
        running.add(name)
        most.append(len(running))
        gate.wait(5)
        running.discard(name)
        return name

    calls = [asyncio.create_task(threads.run(lambda n=n: work(n))) for n in range(4)]
    async with asyncio.timeout(5):
        while len(most) < 2:  # noqa: ASYNC110 - threads tell no loop
            await asyncio.sleep(0.01)
    assert len(most) == 2
    gate.set()
    assert sorted(await asyncio.gather(*calls)) == [0, 1, 2, 3]
    assert max(most) <= 2


async def test_a_call_given_up_keeps_its_thread_until_it_ends():
    threads, gate = Threads(1), threading.Event()
    hanging = asyncio.create_task(threads.run(lambda: gate.wait(5)))
    await asyncio.sleep(0)
    hanging.cancel()
    waiting = asyncio.create_task(threads.run(lambda: "next"))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    gate.set()
    assert await waiting == "next"


async def test_what_the_work_raises_comes_back():
    def work():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await Threads(1).run(work)
