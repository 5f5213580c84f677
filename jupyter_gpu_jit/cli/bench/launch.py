"""``bench launch``: from a decision to a fleet, from a notice to a reaction, and after crashes.

On a real control plane and an AWS of its own on loopback (aws.py). Called by figures.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from ...core.model import Profile
from ...errors import Defect, NotFound
from ...local.aws_account import QUEUE
from ...ports import NODES, PODS
from ...sim.users import session_pod
from .aws import KILLED, AwsStage, calls_of
from .rows import Figure, Row, median, percentile
from .start import ANY_GPU, CPU, L4
from .watching import PATIENCE_SECONDS, Watching, watching

Say = Callable[[str], None]
FOUR = (L4, ANY_GPU, CPU, replace(L4, slug="l4-4", gpus=4, cpu_guarantee_millicpu=12_000))
CRASH_SEED = 20261124
SENDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much is measured; the defaults are what the figures are stated for."""

    starts: int = 60
    class_size: int = 100
    notices: int = 15_000
    interruptions: int = 8
    instances: int = 1000
    crashes: int = 12


async def measure(stage: AwsStage, counts: Counts, say: Say) -> list[Row]:
    """All rows. Raises Defect, maybe in a group, when a step does not come."""
    rows: list[Row] = []
    async with watching(stage.cluster) as stopwatch:
        bench = Bench(stage, stopwatch, counts)
        for part in (
            bench.decision_rows,
            bench.class_row,
            bench.reaction_row,
            bench.collection_row,
            bench.notices_row,
            bench.crash_rows,
        ):
            say((part.__doc__ or "").rstrip("."))
            rows += await part()
    return rows


@dataclass(frozen=True, slots=True)
class Bench:
    """The measurements, each a row or two."""

    stage: AwsStage
    seen: Watching
    counts: Counts
    log: list[dict[str, Any]] = field(default_factory=list)

    # --- launching ---------------------------------------------------------------------------

    async def decision_rows(self) -> list[Row]:
        """one start after the other: when the decision is written, when EC2 is asked."""
        spans = []
        async with self.stage.provisioner(empty_grace_seconds=0.0):
            await self._decided("warm-up")
            for number in range(self.counts.starts):
                spans.append(1000 * await self._decided(f"one-{number}"))
        p50 = Figure(
            name="decision_to_fleet_p50_ms",
            unit="ms",
            aim=50.0,
            beside="from the claim as a watch shows it to CreateFleet as EC2 hears it; "
            "Karpenter waits 35 ms to a second for more of them",
        )
        p99 = Figure(
            name="decision_to_fleet_p99_ms", unit="ms", beside=f"{len(spans)} starts; p50 above"
        )
        return [p50.row(median(spans)), p99.row(percentile(spans, 99))]

    async def _decided(self, user: str) -> float:
        """Seconds from the claim to the call; ends the session again."""
        ahead = await self._clock_ahead()
        before = len(await self._calls("CreateFleet"))
        claimed = self.seen.when(lambda: bool(self.seen.claims))
        async with self.seen.patience():
            await self._create([L4], user)
            at = await claimed
            await self._running(1)
        calls = (await self._calls("CreateFleet"))[before:]
        await self._end_all()
        if not calls:
            raise Defect("A session runs on a new node, and EC2 was not asked for any.")
        return float(calls[0]["began"]) + ahead - at

    async def _clock_ahead(self) -> float:
        """What to add to the world's time to get ours: the middle of a question's way."""
        asked = time.perf_counter()
        now = float((await self.stage.get("clock"))["now"])
        return (asked + time.perf_counter()) / 2 - now

    async def class_row(self) -> list[Row]:
        """a class of a hundred in four profiles, all at once."""
        size = self.counts.class_size
        before = len(await self._calls("CreateFleet"))
        async with self.stage.provisioner(empty_grace_seconds=0.0):
            began = time.perf_counter()
            async with self.seen.patience():
                await self._create([FOUR[n % len(FOUR)] for n in range(size)], "class")
                await self._running(size)
            seconds = time.perf_counter() - began
            calls = len(await self._calls("CreateFleet")) - before
            await self._end_all()
        figure = Figure(
            name="fleet_calls_per_100_sessions",
            unit="calls",
            aim=10.0,
            beside=f"bound: 1 a filling; {size} sessions in {len(FOUR)} profiles ran after "
            f"{seconds:.1f} s",
        )
        return [figure.row(100 * calls / size)]

    # --- interruptions -----------------------------------------------------------------------

    async def reaction_row(self) -> list[Row]:
        """nodes taken back one after the other: when each is closed to others."""
        spans = []
        async with self.stage.provisioner(empty_grace_seconds=0.0):
            for number in range(self.counts.interruptions):
                spans.append(await self._reaction(f"taken-{number}"))
        figure = Figure(
            name="first_reaction_s",
            unit="s",
            aim=5.0,
            beside=f"from EC2's notice to the cordoned node; median of {len(spans)}, slowest "
            f"{max(spans):.2f} s; Karpenter polls for up to 20 s",
        )
        return [figure.row(median(spans))]

    async def _reaction(self, user: str) -> float:
        async with self.seen.patience():
            await self._create([L4], user)
            await self._running(1)
            node = next(iter(self.seen.nodes))
            [life] = await self._live()
            began = time.perf_counter()
            await self.stage.post("interrupt", ids=[life["id"]])
            await _until(lambda: self._is_cordoned(node), 0.01)
            seconds = time.perf_counter() - began
        await self._come_back(user)
        await self._end_all()
        return seconds

    async def _come_back(self, user: str) -> None:
        """As told to: room may be kept for them, which nobody else would get for ten minutes."""
        gone = self.seen.when(lambda: not self.seen.pods)
        async with self.seen.patience():
            await self._delete_pods()
            await gone
            await self._create([L4], user)
            await self._running(1)

    async def _is_cordoned(self, node: str) -> bool:
        try:
            found = await self.stage.cluster.get(NODES, node)
        except NotFound:
            return True
        return bool(found["spec"].get("unschedulable"))

    async def notices_row(self) -> list[Row]:
        """a full queue, from the first to the last message."""
        await self._fill_queue()
        began = time.perf_counter()
        async with self.stage.provisioner():
            async with self.seen.patience(5 * PATIENCE_SECONDS):
                await _until(self._is_drained, 0.25)
            seconds = time.perf_counter() - began
        figure = Figure(
            name="notices_15000_s",
            unit="s",
            aim=60.0,
            beside=f"{self.counts.notices} notices in batches of 10, 4 receivers, the start of the "
            "provisioner in it; moto alone gives and deletes about 160 batches a second",
        )
        return [figure.row(seconds)]

    async def _fill_queue(self) -> None:
        calls, bodies = self.stage.calls, [_foreign(n) for n in range(self.counts.notices)]
        url = (await calls.call("sqs", "GetQueueUrl", QueueName=QUEUE))["QueueUrl"]
        batches = [bodies[n : n + 10] for n in range(0, len(bodies), 10)]
        turn = asyncio.Semaphore(SENDS)

        async def send(batch: Sequence[str]) -> None:
            rows = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(batch)]
            async with turn:
                await calls.call("sqs", "SendMessageBatch", QueueUrl=url, Entries=rows)

        await asyncio.gather(*map(send, batches))

    async def _is_drained(self) -> bool:
        """Whether no message waits or is being worked on."""
        calls = self.stage.calls
        url = (await calls.call("sqs", "GetQueueUrl", QueueName=QUEUE))["QueueUrl"]
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = await calls.call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=names)
        return not any(int(answer["Attributes"][name]) for name in names)

    # --- leaks and crashes -------------------------------------------------------------------

    async def collection_row(self) -> list[Row]:
        """a thousand instances that nobody knows: until all are being ended."""
        interval = 0.5
        async with self.stage.provisioner(
            orphan_grace_seconds=1.0, collect_interval_seconds=interval
        ):
            await self._until_called("DescribeInstances")
            began = await self._launch_unknown()
            async with self.seen.patience():
                await _until(self._is_empty, 0.1)
            seconds = time.perf_counter() - began
        figure = Figure(
            name="gc_round_1000_instances_s",
            unit="s",
            aim=10.0,
            beside=f"from the launch of {self.counts.instances}, with a grace of 1 s and a round "
            f"each {interval:g} s in it",
        )
        return [figure.row(seconds)]

    async def _until_called(self, action: str) -> None:
        """The provisioner has begun, from this moment on."""
        before = len(await self._calls(action))

        async def called() -> bool:
            return len(await self._calls(action)) > before

        async with self.seen.patience():
            await _until(called, 0.1)

    async def _launch_unknown(self) -> float:
        """Instances with our tags and without claims; when the last was launched."""
        calls = self.stage.calls
        tags = [{"Key": k, "Value": v} for k, v in calls.settings.owned.items()]
        name = "gpu-jit-bench-unknown"
        await calls.call(
            "ec2",
            "CreateLaunchTemplate",
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": "ami-12345678", "InstanceType": "g6.xlarge"},
        )
        left = self.counts.instances
        while left > 0:
            await calls.call("ec2", "CreateFleet", **_fleet_of(name, min(left, 500), tags))
            left -= 500
        return time.perf_counter()

    async def crash_rows(self) -> list[Row]:
        """crashes in the middle of launches."""
        dice = Random(CRASH_SEED)
        calls, launched = await self._uncrashed()
        twice = left = died = 0
        for _ in range(self.counts.crashes):
            point = {"number": 1 + dice.randrange(calls), "side": dice.choice(["before", "after"])}
            ever = await self._ever()
            died += await self._crashed(point)
            twice += max(0, await self._ever() - ever - launched)
            left += len(await self._live()) + len(self.seen.claims) + len(self.seen.nodes)
        beside = (
            f"{died} crashes by SIGKILL ({self.counts.crashes} drawn among {calls} calls, seed "
            f"{CRASH_SEED}), a lease of 2 s; {launched} instances each time"
        )
        return [
            Figure(name="launched_twice", unit="instances", aim=0.0, beside=beside).row(twice),
            Figure(name="left_behind", unit="objects", aim=0.0, beside=beside).row(left),
        ]

    async def _uncrashed(self) -> tuple[int, int]:
        """The story without a crash: calls that one could come between, instances launched."""
        before = await self._ever()
        async with self.stage.provisioner(empty_grace_seconds=0.0) as process:
            await self._story()
            calls = await calls_of(process)
        return calls, await self._ever() - before

    async def _crashed(self, point: dict[str, Any]) -> bool:
        """The story with two provisioners, the first of which dies on the way; whether it did."""
        async with asyncio.TaskGroup() as group:
            story = group.create_task(self._story())
            async with self.stage.provisioner(die=point, empty_grace_seconds=0.0) as process:
                death = group.create_task(process.wait())
                await asyncio.wait((story, death), return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                async with self.stage.provisioner(empty_grace_seconds=0.0):
                    await story
        return process.returncode == KILLED

    async def _story(self) -> None:
        """Five sessions come, run, and go."""
        profiles = [L4, L4, ANY_GPU, CPU, CPU]
        async with self.seen.patience():
            await self._create(profiles, "crash")
            await self._running(len(profiles))
        await self._end_all()

    async def _ever(self) -> int:
        """Instances launched since the world began."""
        return int((await self.stage.get("launches"))["ever"])

    # --- shared ------------------------------------------------------------------------------

    async def _calls(self, action: str) -> list[dict[str, Any]]:
        """All of that action so far; the log is only read on from where it was left."""
        self.log.extend((await self.stage.get("log", since=len(self.log)))["lines"])
        return [line for line in self.log if line["kind"] == "call" and line["action"] == action]

    async def _live(self) -> list[dict[str, Any]]:
        found = (await self.stage.get("instances"))["instances"]
        return [life for life in found if life["state"] in ("pending", "running")]

    async def _is_empty(self) -> bool:
        return not await self._live()

    async def _create(self, profiles: Sequence[Profile], user: str) -> None:
        bodies = [session_pod(p, user=f"{user}-{n:03d}") for n, p in enumerate(profiles)]
        where = {"namespace": self.stage.real.namespace}
        await asyncio.gather(*(self.stage.cluster.create(PODS, b, **where) for b in bodies))

    async def _running(self, count: int) -> None:
        await self.seen.when(
            lambda: sum(phase == "Running" for phase in self.seen.pods.values()) >= count
        )

    async def _end_all(self) -> None:
        """Delete the pods; wait until nothing is left of them, in the cluster and in EC2."""
        gone = self.seen.when(lambda: self.seen.is_empty)
        async with self.seen.patience():
            await self._delete_pods()
            await gone
            await _until(self._is_empty, 0.05)

    async def _delete_pods(self) -> None:
        where = {"namespace": self.stage.real.namespace}
        for name in list(self.seen.pods):
            with suppress(NotFound):
                await self.stage.cluster.delete(PODS, name, **where, grace_seconds=0)


async def _until(condition: Callable[[], Awaitable[bool]], every_seconds: float) -> None:
    """Ask again and again: neither EC2 nor a queue says by itself that it is empty."""
    while not await condition():  # noqa: ASYNC110
        await asyncio.sleep(every_seconds)


def _foreign(number: int) -> str:
    """EventBridge's words about an instance of somebody else."""
    return json.dumps(
        {
            "version": "0",
            "id": f"bench-{number}",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "source": "aws.ec2",
            "time": "2026-11-24T12:00:00Z",
            "region": "us-east-1",
            "detail": {"instance-id": f"i-{number:017x}", "instance-action": "terminate"},
        }
    )


def _fleet_of(template: str, count: int, tags: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateName": template,
                    "Version": "$Latest",
                }
            }
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": "on-demand",
        },
        "TagSpecifications": [{"ResourceType": "instance", "Tags": list(tags)}],
    }
