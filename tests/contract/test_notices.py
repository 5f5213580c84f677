"""One port, two queues: in memory, and SQS filled by the events of an AWS."""

import asyncio
import json
import random
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from cloud_stages import QUEUE, aws_stage
from worlds import eventually

from jupyter_gpu_jit.adapters.aws.calls import AwsCalls
from jupyter_gpu_jit.adapters.aws.events import HEALTH, REBALANCE
from jupyter_gpu_jit.adapters.aws.sqs import SqsNotices
from jupyter_gpu_jit.adapters.system import SystemClock
from jupyter_gpu_jit.core.model import Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import Rejected
from jupyter_gpu_jit.ports import LaunchRequest, NoticeKind
from jupyter_gpu_jit.sim import notices as sim_notices
from jupyter_gpu_jit.sim.notices import NoticeFaults, SimNotices

POLL_SECONDS, UNSEEN_SECONDS = 1, 1
SPOT = Offering(
    instance_type="g6.xlarge",
    zone="us-east-1a",
    capacity_type=CapacityType.SPOT,
    usd_per_hour_micro=1,
)


class MemoryStage:
    def __init__(self, notices):
        self.notices = notices

    async def instances(self, count):
        return [f"i-{n:017x}" for n in range(count)]

    def say(self, kind, ids):
        for instance_id in ids:
            seconds = {NoticeKind.INTERRUPTION: 120.0, NoticeKind.SCHEDULED: 3600.0}.get(kind)
            self.notices.say_of(kind, instance_id, in_seconds=seconds)


class SqsStage:
    """An AWS with a queue; ``dropped`` counts what came to nothing."""

    def __init__(self, aws):
        settings = replace(aws.calls.settings, notice_wait_seconds=POLL_SECONDS)
        self.aws, self.calls, self.dropped = aws, AwsCalls(settings, SystemClock()), Counter()
        self.notices = SqsNotices(
            self.calls,
            hidden_seconds=UNSEEN_SECONDS,
            dropped=lambda why: self.dropped.update([why]),
        )

    async def instances(self, count):
        request = LaunchRequest(
            client_token="notices",
            offerings=(SPOT,),
            count=count,
            tags={"gpu-jit.io/cluster": "contract"},
        )
        return [i.id for i in (await self.aws.cloud.launch(request)).instances]

    def say(self, kind, ids):
        post = self.aws.world.control.post
        match kind:
            case NoticeKind.INTERRUPTION:
                post("interrupt", ids=ids)
            case NoticeKind.REBALANCE:
                post("rebalance", ids=ids)
            case NoticeKind.ENDED:
                post("state-change", ids=ids, state="terminated")
            case NoticeKind.SCHEDULED:
                post("health", ids=ids, starts_in_seconds=3600.0)

    async def send(self, *texts):
        for text in texts:
            await self.calls.call("sqs", "SendMessage", QueueUrl=await self.url(), MessageBody=text)

    async def url(self):
        return (await self.calls.call("sqs", "GetQueueUrl", QueueName=QUEUE))["QueueUrl"]

    async def left(self):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = await self.calls.call(
            "sqs", "GetQueueAttributes", QueueUrl=await self.url(), AttributeNames=names
        )
        return sum(int(value) for value in answer["Attributes"].values())


@asynccontextmanager
async def sqs_stage(world):
    async with aws_stage(world) as aws:
        yield SqsStage(aws)


@pytest.fixture(params=["memory", "sqs"])
async def stage(request, monkeypatch):
    if request.param == "sqs":
        async with sqs_stage(request.getfixturevalue("aws_world")) as found:
            yield found
    else:
        monkeypatch.setattr(sim_notices, "LONG_POLL_SECONDS", POLL_SECONDS)
        monkeypatch.setattr(sim_notices, "UNSEEN_SECONDS", UNSEEN_SECONDS)
        faults = NoticeFaults(transit_seconds=0.0)
        yield MemoryStage(SimNotices(SystemClock(), random.Random(1), faults))


@pytest.fixture
async def sqs(aws_world):
    async with sqs_stage(aws_world) as found:
        yield found


async def drain(stage, count):
    """Receive and settle until ``count`` different instances were told of."""
    found = []
    async with asyncio.timeout(20):
        while len({notice.instance_id for notice in found}) < count:
            some = await stage.notices.receive()
            await stage.notices.settle(some)
            found += some
    return found


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (NoticeKind.INTERRUPTION, 120.0),
        (NoticeKind.REBALANCE, None),
        (NoticeKind.ENDED, None),
        (NoticeKind.SCHEDULED, 3600.0),
    ],
)
async def test_a_notice_says_of_which_instance_what_and_until_when(stage, kind, seconds):
    ids = await stage.instances(1)
    before = SystemClock().now()
    stage.say(kind, ids)
    (notice,) = await drain(stage, 1)
    assert (notice.kind, notice.instance_id) == (kind, ids[0])
    # Events tell time in whole seconds.
    assert before - 1 <= notice.said_at <= before + 5
    if seconds is None:
        assert notice.deadline is None
    else:
        assert notice.deadline - notice.said_at == pytest.approx(seconds, abs=1.5)


async def test_a_quiet_queue_answers_with_nothing_after_a_while(stage):
    assert tuple(await stage.notices.receive()) == ()


async def test_many_come_ten_at_a_time_at_most_and_none_is_lost(stage):
    ids = await stage.instances(23)
    stage.say(NoticeKind.INTERRUPTION, ids)
    found, sizes = set(), []
    async with asyncio.timeout(20):
        while len(found) < len(ids):
            some = await stage.notices.receive()
            sizes.append(len(some))
            found |= {notice.instance_id for notice in some}
            await stage.notices.settle(some)
    assert found == set(ids)
    assert max(sizes) <= 10


async def test_what_is_not_settled_comes_again_and_what_is_settled_does_not(stage):
    ids = await stage.instances(2)
    stage.say(NoticeKind.INTERRUPTION, ids)
    first = []
    async with asyncio.timeout(10):
        while len(first) < 2:
            first += await stage.notices.receive()
    kept, settled = first
    await stage.notices.settle([settled])
    again = []
    async with asyncio.timeout(10):
        while not again:
            again = list(await stage.notices.receive())
    assert [notice.instance_id for notice in again] == [kept.instance_id]
    await stage.notices.settle(again)
    assert tuple(await stage.notices.receive()) == ()


async def test_several_receivers_share_the_work(stage):
    ids = await stage.instances(40)
    stage.say(NoticeKind.INTERRUPTION, ids)
    parts = await asyncio.gather(*(drain(stage, 5) for _ in range(4)))
    rest = len(ids) - len({n.instance_id for part in parts for n in part})
    found = [n.instance_id for part in parts for n in part]
    if rest:
        found += [n.instance_id for n in await drain(stage, rest)]
    assert sorted(found) == sorted(ids)


# --- what only SQS has ----------------------------------------------------------------------------


def event(kind, **detail):
    return json.dumps({"detail-type": kind, "detail": detail})


async def test_foreign_kinds_are_deleted_and_counted(sqs):
    await sqs.send(event("EC2 Fleet State Change"), event("Scheduled Event"))
    await sqs.send(event("EC2 Instance State-change Notification", state="running", x="i"))
    await eventually(partial(_received_until, sqs, "unknown", 3))
    assert await sqs.left() == 0


async def test_what_cannot_be_read_stays_for_the_dead_letter_queue(sqs):
    await sqs.send("not json", event("EC2 Spot Instance Interruption Warning"))
    await eventually(partial(_received_until, sqs, "unreadable", 2))
    assert await sqs.left() == 2


async def _received_until(sqs, why, count):
    assert tuple(await sqs.notices.receive()) == ()
    return sqs.dropped[why] >= count


async def test_a_message_about_many_is_deleted_when_all_of_it_was_acted_on(sqs):
    entities = [{"entityValue": f"i-{n}"} for n in range(12)]
    detail = {"eventTypeCategory": "scheduledChange", "service": "EC2"}
    await sqs.send(event("AWS Health Event", affectedEntities=entities, **detail))
    first = await sqs.notices.receive()
    assert len(first) == 10
    await sqs.notices.settle(first)
    assert await sqs.left() == 1
    rest = await sqs.notices.receive()
    await sqs.notices.settle(rest)
    assert await sqs.left() == 0
    assert {n.instance_id for n in (*first, *rest)} == {f"i-{n}" for n in range(12)}


async def test_a_queue_that_is_not_there_is_one_sentence(sqs):
    calls = AwsCalls(replace(sqs.calls.settings, queue="absent"), SystemClock())
    with pytest.raises(Rejected, match="There is no queue absent in us-east-1: create the stack"):
        await SqsNotices(calls).receive()


async def begin_and_leave(notices):
    """A poll is under way, and nobody can call it back."""
    waiting = asyncio.create_task(notices.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_an_abandoned_poll_brings_is_given_back_at_once(sqs):
    gone = SqsNotices(sqs.calls, hidden_seconds=600)
    await sqs.send(event(REBALANCE, **{"instance-id": "i-1"}))
    await begin_and_leave(gone)
    await gone.close()
    (notice,) = await drain(sqs, 1)
    assert notice.instance_id == "i-1"


async def test_what_was_read_and_not_asked_for_is_given_back_at_the_end(sqs):
    gone = SqsNotices(sqs.calls, hidden_seconds=600)
    entities = [{"entityValue": f"i-{n}"} for n in range(12)]
    detail = {"eventTypeCategory": "scheduledChange", "service": "EC2"}
    await sqs.send(event(HEALTH, affectedEntities=entities, **detail))
    assert len(await gone.receive()) == 10
    await gone.close()
    assert len(await drain(sqs, 12)) == 12


async def test_an_end_is_not_held_up_by_a_queue_that_does_not_answer(sqs, caplog):
    await sqs.send(event(REBALANCE, **{"instance-id": "i-1"}))
    await begin_and_leave(sqs.notices)
    action = "ChangeMessageVisibilityBatch"
    sqs.aws.world.control.post(
        "fault", kind="error", action=action, code="AccessDenied", message="No.", status=403
    )
    await sqs.notices.close()
    assert "not given back" in caplog.text
