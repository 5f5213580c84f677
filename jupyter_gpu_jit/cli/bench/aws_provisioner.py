"""The provisioner on EC2 and SQS as a process of its own, which may be told to die.

Started by aws.py (``python -m``) with its orders on standard input; ends when that is closed, and
says how many calls it made that a crash could have come between. With ``die`` it kills itself
with SIGKILL at one of them, before or after it took effect: what a crash is, seen from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

from ...adapters.aws.settings import AwsSettings
from ...adapters.kubernetes import KubernetesCluster
from ...adapters.system import RandomIds, SystemClock
from ...errors import GpuJitError
from ...provisioner.runtime import Provisioner, Settings
from ...sim.taps import Call, TappedCloud, TappedCluster
from ..aws import outside_of
from .provisioner import until_told

BENCH = "bench"


class Death:
    """A tap that kills the process at its ``number``-th call, on the ``side`` it was told.

    ``count``: calls so far. No call has number 0.
    """

    def __init__(self, number: int, side: str) -> None:
        self._number, self._side, self.count = number, side, 0
        self._fatal: Call | None = None

    async def before(self, call: Call) -> None:
        """Count; die here when it is this call and this side. Leases and looks are not counted."""
        if not counts(call):
            return
        self.count += 1
        if self.count == self._number:
            self._fatal = call
            self._die_if("before")

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """Die here when it is this call and this side."""
        if call is self._fatal:
            self._die_if("after")

    def _die_if(self, side: str) -> None:
        if side == self._side:
            os.kill(os.getpid(), signal.SIGKILL)


def counts(call: Call) -> bool:
    """Calls of the way from a pod to its node; the others come by the clock."""
    return call.writes and call.kind != "leases"


def main() -> None:
    """Provision until standard input ends."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_provision(json.loads(sys.stdin.readline())))


async def _provision(orders: dict[str, Any]) -> None:
    clock = SystemClock()
    aws = AwsSettings(cluster_id=BENCH, hub_id=BENCH, **orders["aws"])
    death = Death(**(orders.get("die") or {"number": 0, "side": ""}))
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(outside_of(aws, None))
        own = KubernetesCluster.connect(
            server=orders["server"], ca_file=orders["ca_file"], token=orders["token"]
        )
        stack.push_async_callback(own.close)
        settings = Settings(
            cluster_id=BENCH,
            hub_id=BENCH,
            namespace=orders["namespace"],
            release_deadline_seconds=600.0,
            vcpu_quotas=outside.quotas,
            **orders["settings"],
        )
        provisioner = Provisioner(
            TappedCluster(own, [death]),
            TappedCloud(outside.cloud, [death]),
            clock,
            ids=RandomIds(),
            settings=settings,
            notices=outside.notices,
        )
        stack.push_async_callback(provisioner.resign)
        await until_told(provisioner)
    print(json.dumps({"calls": death.count}))  # noqa: T201


if __name__ == "__main__":
    main()
