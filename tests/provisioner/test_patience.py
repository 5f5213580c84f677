"""A cloud or a queue that is away is asked by one call at a time, and found again."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from jupyter_gpu_jit.errors import Rejected, TransientError, Unavailable
from jupyter_gpu_jit.ports import Notice, NoticeKind
from jupyter_gpu_jit.provisioner.listening import Listening
from jupyter_gpu_jit.provisioner.patience import PatientCloud
from jupyter_gpu_jit.sim.loop import LoopClock, run

AWAY = Unavailable("Gone.", reason="Away")


class Moody:
    """A cloud whose list works when it is up, after a second."""

    def __init__(self, clock):
        self.clock, self.up, self.calls = clock, True, []

    async def instances(self):
        self.calls.append(self.clock.now())
        up = self.up
        await self.clock.sleep(1.0)
        if not up:
            raise AWAY
        return ()


def in_time(body):
    """Run the body in virtual time with a patient cloud over a moody one."""

    async def main():
        clock, back = LoopClock(), []
        moody = Moody(clock)
        patient = PatientCloud(moody, clock, back=lambda: back.append(clock.now()))
        return await body(clock, moody, patient, back)

    return run(main, seed=1)


async def ask(patient):
    try:
        await patient.instances()
    except TransientError as error:
        return error.reason
    return ""


def test_after_a_failure_nobody_calls_for_a_while_and_each_is_told():
    async def body(clock, moody, patient, back):
        moody.up = False
        assert await ask(patient) == "Away"
        assert [await ask(patient) for _ in range(5)] == ["CloudAway"] * 5
        assert len(moody.calls) == 1
        await clock.sleep(1.0)
        assert sorted(await asyncio.gather(*(ask(patient) for _ in range(5)))) == [
            "Away", *["CloudAway"] * 4
        ]  # fmt: skip
        assert len(moody.calls) == 2
        assert back == []

    in_time(body)


def test_failures_of_calls_that_were_under_way_together_are_one():
    async def body(clock, moody, patient, back):
        moody.up = False
        assert await asyncio.gather(*(ask(patient) for _ in range(20))) == ["Away"] * 20
        moody.up = True
        await clock.sleep(1.0)
        assert await ask(patient) == ""

    in_time(body)


def test_ten_minutes_away_cost_few_calls_and_the_return_is_told_once():
    async def body(clock, moody, patient, back):
        moody.up = False
        began = clock.now()
        while clock.now() < began + 600.0:
            await asyncio.gather(*(ask(patient) for _ in range(10)))
            await clock.sleep(0.25)
        assert len(moody.calls) - 10 < 600 / 15 + 5
        gaps = [b - a for a, b in pairwise(moody.calls[10:])]
        assert min(gaps) >= 1.0
        assert max(gaps) < 18.0
        moody.up = True
        ended = clock.now()
        while await ask(patient):
            await clock.sleep(0.25)
        assert clock.now() - ended <= 17.0
        assert len(back) == 1
        assert await asyncio.gather(*(ask(patient) for _ in range(3))) == [""] * 3
        assert len(back) == 1

    in_time(body)


class Queue:
    """A queue that is not there at first, then has one notice."""

    def __init__(self, clock, error, failures):
        self.clock, self.error, self.left = clock, error, failures
        self.calls, self.settled, self.given = [], [], False

    async def receive(self):
        self.calls.append(self.clock.now())
        if self.left:
            self.left -= 1
            raise self.error
        await self.clock.sleep(1.0 if self.given else 0.0)
        self.given, first = True, not self.given
        one = Notice(kind=NoticeKind.ENDED, instance_id="i-1", said_at=0.0, receipt="r")
        return [one] if first else []

    async def settle(self, notices):
        self.settled += notices
        if len(self.settled) == 1:
            raise AWAY


@pytest.mark.parametrize("error", [AWAY, Rejected("There is no such queue.", reason="NoQueue")])
def test_a_queue_that_is_not_there_is_waited_for(error):
    async def main():
        clock = LoopClock()
        queue, heard = Queue(clock, error, failures=12), []

        async def hear(notices):
            heard.extend(notices)
            return notices

        listening = asyncio.ensure_future(Listening(queue, clock, hear=hear).run())
        await clock.sleep(200.0)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        return queue, heard

    queue, heard = run(main, seed=1)
    assert [notice.instance_id for notice in heard] == ["i-1"]
    assert len(queue.settled) == 1
    # Four at once before anybody knows; from then on one at a time.
    gaps = [b - a for a, b in pairwise(queue.calls[4:12])]
    assert min(gaps) >= 1.0
