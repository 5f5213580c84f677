"""The weather between the provisioner and its ports is what it says it is."""

import random
from collections import Counter

from simkit import virtually

from jupyter_gpu_jit.errors import Conflict, GpuJitError, Unavailable
from jupyter_gpu_jit.sim import weather
from jupyter_gpu_jit.sim.loop import LoopClock
from jupyter_gpu_jit.sim.taps import Call

WRITE, WATCH = Call("patch", "pods", "a"), Call("watch", "pods")


async def met(moment, call, count):
    """How often each error came; "" is none."""
    found = Counter()
    for _ in range(count):
        try:
            await (moment(call) if moment.__name__ == "before" else moment(call, None))
            found[""] += 1
        except GpuJitError as error:
            found[type(error)] += 1
    return found


def test_slow_answers_take_their_time_and_now_and_then_long():
    async def main():
        clock = LoopClock()
        [slow] = weather.slow(clock, random.Random(1))
        waits = []
        for _ in range(500):
            began = clock.now()
            await slow.before(WRITE)
            await slow.after(WRITE, None)
            waits.append(clock.now() - began)
        assert 0.01 < sorted(waits)[250] < 0.05
        assert max(waits) > 0.5
        began = clock.now()
        await slow.after(WATCH, None)
        assert clock.now() == began, "the end of a watch takes no time"

    virtually(main)


def test_flaky_calls_are_lost_on_both_ways_and_patches_meet_conflicts():
    async def main():
        _, flaky = weather.stormy(LoopClock(), random.Random(1))
        there = await met(flaky.before, WRITE, 2000)
        assert 30 < there[Unavailable] < 90
        assert 30 < there[Conflict] < 90
        back = await met(flaky.after, WRITE, 2000)
        assert 30 < back[Unavailable] < 90
        assert back[Conflict] == 0
        assert (await met(flaky.before, WATCH, 2000))[Conflict] == 0
        assert await met(flaky.after, WATCH, 500) == {"": 500}

    virtually(main)


def test_a_call_that_failed_already_is_not_lost_as_well():
    async def main():
        _, flaky = weather.stormy(LoopClock(), random.Random(1))
        for _ in range(500):
            await flaky.after(WRITE, Conflict("so"))

    virtually(main)
