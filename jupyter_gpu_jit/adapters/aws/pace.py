"""How fast we ask: a token bucket before each action, and patience while AWS is in trouble.

Used by calls.py before each call. AWS counts by account, region and action; staying within what
it gives keeps other programs of the account from being refused. The figures are those of the
EC2 developer guide ("Request throttling for the Amazon EC2 API"), as far as it has them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ports import Clock


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` at once, then ``per_second``."""

    burst: float
    per_second: float


READS = Rate(100, 20)
IN_TROUBLE = Rate(1, 1)
CREDENTIALS = "sts"
"""Trouble with these is that of every service."""
LAUNCHED_INSTANCES = Rate(1000, 2)
RATES = {
    "CreateFleet": Rate(50, 5),
    "CreateLaunchTemplate": Rate(50, 5),
    "DeleteLaunchTemplate": Rate(50, 5),
    "CreatePlacementGroup": Rate(50, 5),
    "DeletePlacementGroup": Rate(50, 5),
    "TerminateInstances": Rate(100, 5),
    "CreateTags": Rate(100, 10),
    "DescribeInstanceTopology": Rate(10, 1),
    "GetSpotPlacementScores": Rate(5, 1),
    # SQS has no limit that we could come near to.
    "ReceiveMessage": Rate(1000, 1000),
    "DeleteMessageBatch": Rate(1000, 1000),
}


class Bucket:
    """A token bucket that serves in order of asking: who asks first waits least."""

    def __init__(self, clock: Clock, rate: Rate) -> None:
        self._clock, self._rate = clock, rate
        self._tokens, self._at = rate.burst, clock.now()

    async def take(self, amount: float = 1.0) -> None:
        """Wait until ``amount`` tokens are ours. A cancelled wait has taken them all the same."""
        now = self._clock.now()
        gained = max(0.0, now - self._at) * self._rate.per_second
        self._tokens = min(self._rate.burst, self._tokens + gained) - amount
        self._at = now
        if self._tokens < 0:
            await self._clock.sleep(-self._tokens / self._rate.per_second)


class Pace:
    """One bucket per action; while a service does not answer, one call per second to it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._trouble: dict[str, Bucket] = {}
        self._launched = Bucket(clock, LAUNCHED_INSTANCES)

    async def before(self, service: str, action: str) -> None:
        """Wait for this call's turn."""
        for troubled in (CREDENTIALS, service):
            if troubled in self._trouble:
                await self._trouble[troubled].take()
        if action not in self._buckets:
            self._buckets[action] = Bucket(self._clock, RATES.get(action, READS))
        await self._buckets[action].take()

    async def before_launch_of(self, count: int) -> None:
        """Instances count against a bucket of their own, besides the call."""
        await self._launched.take(count)

    def answered(self, service: str) -> None:
        """The service gave an answer, if only a refusal; so there are credentials."""
        self._trouble.pop(service, None)
        self._trouble.pop(CREDENTIALS, None)

    def failed(self, service: str) -> None:
        """It gave none."""
        self._trouble.setdefault(service, Bucket(self._clock, IN_TROUBLE))
