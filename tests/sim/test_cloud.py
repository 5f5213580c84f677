"""The simulated cloud: what a fleet request gives, and how instances come and go."""

import asyncio
import random
from dataclasses import replace

import pytest

from jupyter_gpu_jit.core.model import InstanceType, Offering, Resources
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import Rejected
from jupyter_gpu_jit.ports import LaunchRequest
from jupyter_gpu_jit.sim.cloud import BootModel, Hooks, SimCloud

TAGS = {"gpu-jit.io/cluster": "c1"}


class FastClock:
    """Time that only moves when somebody sleeps, without waiting."""

    def __init__(self):
        self.time, self._sleepers = 1_000_000.0, []

    def now(self):
        return self.time

    async def sleep(self, seconds):
        done = asyncio.Event()
        self._sleepers.append((self.time + seconds, done))
        await done.wait()

    async def advance(self, seconds):
        """Let that much time pass, waking sleepers in order."""
        until = self.time + seconds
        while True:
            await _settle()
            due = sorted((s for s in self._sleepers if s[0] <= until), key=lambda s: s[0])
            if not due:
                break
            self._sleepers.remove(due[0])
            self.time = due[0][0]
            due[0][1].set()
        self.time = until


async def _settle():
    for _ in range(20):
        await asyncio.sleep(0)


class Names:
    def __init__(self):
        self.count = 0

    def new(self, prefix):
        self.count += 1
        return f"{prefix}-{self.count}"


def offering(name="g6.xlarge", zone="us-east-1a", spot=True, price=400_000):
    kind = CapacityType.SPOT if spot else CapacityType.ON_DEMAND
    return Offering(instance_type=name, zone=zone, capacity_type=kind, usd_per_hour_micro=price)


A, B = offering(), offering(zone="us-east-1b")


def types():
    return [
        InstanceType(
            name="g6.xlarge",
            vcpu=4,
            memory_mib=16384,
            allocatable=Resources(cpu_millicpu=3900, memory_bytes=14 << 30, gpus=1, pods=20),
            offerings=(A, B),
        )
    ]


def request(token="t-1", offerings=(A, B), count=1, tags=TAGS):
    return LaunchRequest(client_token=token, offerings=offerings, count=count, tags=tags)


@pytest.fixture
async def clock():
    return FastClock()


@pytest.fixture
async def cloud(clock):
    made = SimCloud(clock, Names(), random.Random(1), types(), boot=BootModel.exact(), tags=TAGS)
    yield made
    await made.close()


async def call(clock, work, seconds=3.0):
    task = asyncio.ensure_future(work)
    await clock.advance(seconds)
    return await asyncio.wait_for(task, 1)


async def test_a_launch_gives_the_first_offering_at_the_price_of_now(clock, cloud):
    cloud.set_price(A.key, 555)
    result = await call(clock, cloud.launch(request(count=2)))
    assert [i.zone for i in result.instances] == ["us-east-1a", "us-east-1a"]
    assert result.failures == ()
    assert {i.usd_per_hour_micro for i in result.instances} == {555}
    assert result.instances[0].provider_id == f"aws:///us-east-1a/{result.instances[0].id}"


async def test_the_same_token_answers_again_and_launches_nothing(clock, cloud):
    first = await call(clock, cloud.launch(request()))
    await clock.advance(100_000)
    again = await call(clock, cloud.launch(request()))
    assert again == first
    assert len(cloud.ledger) == 1


async def test_two_calls_at_once_with_one_token_launch_once(clock, cloud):
    both = asyncio.gather(cloud.launch(request()), cloud.launch(request()))
    one, two = await call(clock, both)
    assert one == two
    assert len(cloud.ledger) == 1


async def test_a_token_with_another_request_is_refused(clock, cloud):
    await call(clock, cloud.launch(request()))
    with pytest.raises(Rejected) as error:
        await call(clock, cloud.launch(request(count=2)))
    assert error.value.reason == "IdempotentParameterMismatch"


async def test_a_dry_offering_fails_and_the_next_one_serves(clock, cloud):
    cloud.dry(A.key)
    result = await call(clock, cloud.launch(request()))
    assert [i.zone for i in result.instances] == ["us-east-1b"]
    assert [(f.offering, f.code) for f in result.failures] == [(A, "InsufficientInstanceCapacity")]


async def test_a_pool_is_used_up_and_the_answer_may_be_partial(clock, cloud):
    cloud.stock(A.key, 2)
    cloud.dry(B.key)
    result = await call(clock, cloud.launch(request(count=3)))
    assert len(result.instances) == 2
    assert [f.offering.zone for f in result.failures] == ["us-east-1a", "us-east-1b"]
    cloud.stock(A.key, None)
    more = await call(clock, cloud.launch(request("t-2", count=5)))
    assert len(more.instances) == 5


async def test_what_is_not_sold_or_refused_names_its_code(clock, cloud):
    cloud.refuse(A.key, "VcpuLimitExceeded")
    unknown = offering(name="p9.metal")
    result = await call(clock, cloud.launch(request(offerings=(unknown, A))))
    assert [f.code for f in result.failures] == ["Unsupported", "VcpuLimitExceeded"]
    assert result.instances == ()


async def test_a_layout_that_a_type_cannot_have_is_not_launched(clock, cloud):
    parts = replace(request("t-1"), layout="mig-1g.5gb")
    slices = replace(request("t-2"), layout="time-sliced-4")
    refused = await call(clock, cloud.launch(parts))
    assert [f.code for f in refused.failures] == ["Unsupported", "Unsupported"]
    assert len((await call(clock, cloud.launch(slices))).instances) == 1


async def test_a_caller_that_is_cancelled_late_has_launched(clock, cloud):
    task = asyncio.ensure_future(cloud.launch(request()))
    await clock.advance(1.5)
    task.cancel()
    await clock.advance(1.0)
    assert len(cloud.live()) == 1


async def test_a_caller_that_is_cancelled_early_has_not(clock, cloud):
    task = asyncio.ensure_future(cloud.launch(request()))
    await clock.advance(0.5)
    task.cancel()
    await clock.advance(10.0)
    assert cloud.ledger == {}


async def test_an_instance_runs_then_ends_and_hooks_hear_it(clock, cloud):
    heard = []

    async def on_running(instance):
        heard.append((instance.state, clock.now()))

    async def on_ended(instance):
        heard.append((instance.state, clock.now()))

    cloud.hooks = Hooks(on_running=on_running, on_ended=on_ended)
    result = await call(clock, cloud.launch(request()))
    launched = result.instances[0].launched_at
    await clock.advance(20)
    assert heard == [("running", launched + 16.0)]
    await call(clock, cloud.terminate([result.instances[0].id, "i-unknown"]))
    seen = await call(clock, cloud.instances())
    assert [i.state for i in seen] == ["shutting-down"]
    await clock.advance(20)
    assert [state for state, _ in heard] == ["running", "terminated"]


async def test_an_instance_ended_while_pending_never_runs(clock, cloud):
    heard = []

    async def listen(instance):
        heard.append(instance)

    cloud.hooks = Hooks(on_running=listen, on_ended=listen)
    result = await call(clock, cloud.launch(request()))
    await call(clock, cloud.terminate([result.instances[0].id]))
    await clock.advance(100)
    assert heard == []
    assert cloud.live() == ()


async def test_only_our_instances_are_listed_and_terminated_ones_for_an_hour(clock, cloud):
    await call(clock, cloud.launch(request("other", tags={"gpu-jit.io/cluster": "c2"})))
    mine = (await call(clock, cloud.launch(request()))).instances[0]
    assert [i.id for i in await call(clock, cloud.instances())] == [mine.id]
    await call(clock, cloud.terminate([mine.id]))
    await clock.advance(600)
    assert [i.state for i in await call(clock, cloud.instances())] == ["terminated"]
    await clock.advance(3600)
    assert await call(clock, cloud.instances()) == ()


async def test_a_lagging_list_shows_the_past(clock, cloud):
    cloud.lag_seconds = 30.0
    await call(clock, cloud.launch(request()))
    counts = {len(await call(clock, cloud.instances(), 0.2)) for _ in range(40)}
    assert counts == {0, 1}
    await clock.advance(31)
    assert len(await call(clock, cloud.instances(), 0.2)) == 1


async def test_money_is_by_the_second_and_at_least_a_minute(clock, cloud):
    result = await call(clock, cloud.launch(request()))
    assert cloud.cost_micro_usd() == round(60 * 400_000 / 3600)
    await clock.advance(3600)
    await call(clock, cloud.terminate([result.instances[0].id]))
    ended = cloud.cost_micro_usd()
    await clock.advance(3600)
    assert cloud.cost_micro_usd() == ended
    assert 400_000 <= ended <= 402_000


def test_the_models_say_what_they_assume():
    assert 45 <= BootModel.aws().median_seconds <= 75
    assert 10 <= BootModel.demo().median_seconds <= 13
    rng = random.Random(7)
    draws = sorted(BootModel.aws().boot.draw(rng) for _ in range(2000))
    assert 14 < draws[1000] < 18
    assert draws[-1] > 60, "the tail is heavy"
