"""The provisioner as a process of its own, with a cloud whose machines are there at once.

Started by real.py (``python -m``), which gives it its orders on standard input and ends it by
closing that: nothing is left when the benchmark is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from contextlib import AsyncExitStack
from typing import Any

from ...adapters.kubernetes import KubernetesCluster
from ...adapters.system import RandomIds, SystemClock
from ...catalogue import instance_types
from ...core import wire
from ...local.kwok import KwokNodes
from ...provisioner.runtime import Provisioner, Settings
from ...sim.boot import BootModel, exactly
from ...sim.cloud import SimCloud

BENCH = "bench"
STEPS = ("launch", "boot", "register", "ready", "gpus", "call", "shutdown")
INSTANT = BootModel(**dict.fromkeys(STEPS, exactly(0.0)))


def main() -> None:
    """Provision until standard input ends."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_provision(json.loads(sys.stdin.readline())))


async def _provision(orders: dict[str, Any]) -> None:
    where = {"server": orders["server"], "ca_file": orders["ca_file"]}
    clock, ids = SystemClock(), RandomIds()
    settings = Settings(
        cluster_id=BENCH,
        hub_id=BENCH,
        namespace=orders["namespace"],
        empty_grace_seconds=orders["empty_grace_seconds"],
        # On a machine so busy that binding takes long: there is no hub that would create anew.
        release_deadline_seconds=600.0,
    )
    async with AsyncExitStack() as stack:
        nodes, own = (
            KubernetesCluster.connect(token=orders[token], **where) for token in ("admin", "own")
        )
        cloud = SimCloud(
            clock,
            ids,
            random.Random(1),
            instance_types(),
            boot=INSTANT,
            tags={wire.CLUSTER_TAG: BENCH, wire.HUB_TAG: BENCH},
        )
        KwokNodes(nodes, clock).attach(cloud)
        for part in (nodes, own, cloud):
            stack.push_async_callback(part.close)
        provisioner = Provisioner(own, cloud, clock, ids=ids, settings=settings)
        stack.push_async_callback(provisioner.resign)
        await until_told(provisioner)


async def until_told(provisioner: Provisioner) -> None:
    """Run it until standard input is closed."""
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    running = asyncio.create_task(provisioner.run())
    await asyncio.wait((told, running), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    running.cancel()
    await asyncio.wait((running,))


if __name__ == "__main__":
    main()
