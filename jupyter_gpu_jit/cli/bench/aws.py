"""The stage of ``bench launch``: EC2 and SQS on loopback, a real control plane, KWOK's nodes.

Called by figures.py and by tests. AWS, the control plane and the provisioner are processes of
their own; the bench watches both ends, the API server and the log of AWS.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...adapters.aws.calls import AwsCalls
from ...adapters.aws.settings import AwsSettings
from ...adapters.kubernetes import KubernetesCluster
from ...adapters.system import SystemClock
from ...local.aws_account import account, settings_of
from ...local.aws_world import AwsWorld
from ...local.aws_world.nodes import WorldNodes
from ...local.threads import in_thread
from .real import ACCOUNT, RealStage, ended, real_stage

CLUSTER = "bench"
COMMAND = (sys.executable, "-m", "jupyter_gpu_jit.cli.bench.aws_provisioner")
# What takes minutes is not what is measured; that it takes some time is.
NODES_JOIN = {"register_seconds": 0.2, "ready_seconds": 0.1, "gpus_seconds": 0.1}
KILLED = -9


@dataclass(frozen=True, kw_only=True)
class AwsStage:
    """An account, a cluster and the nodes between them; ``settings`` are the adapters'."""

    world: AwsWorld
    real: RealStage
    settings: Mapping[str, Any]

    @property
    def cluster(self) -> KubernetesCluster:
        """With all rights."""
        return self.real.cluster

    @cached_property
    def calls(self) -> AwsCalls:
        """A client of the account as the provisioner has it."""
        aws = AwsSettings(cluster_id=CLUSTER, hub_id=CLUSTER, **self.settings)
        return AwsCalls(aws, SystemClock())

    async def get(self, name: str, **query: Any) -> dict[str, Any]:
        """Ask the world; see ``aws_world.control``."""
        return await in_thread(lambda: self.world.control.get(name, **query))

    async def post(self, name: str, **body: Any) -> dict[str, Any]:
        """Tell the world; see ``aws_world.control``."""
        return await in_thread(lambda: self.world.control.post(name, **body))

    @asynccontextmanager
    async def provisioner(
        self, *, die: Mapping[str, Any] | None = None, **settings: Any
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """One that runs meanwhile, with the rights of its service account.

        Raises Defect when it ends otherwise than told, or as ``die`` says.
        """
        orders = {
            **self.real.address,
            "token": await self.real.own_token(ACCOUNT),
            "namespace": self.real.namespace,
            "settings": {"lease_seconds": 2.0, **settings},
            "aws": dict(self.settings),
            "die": die,
        }
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self.world.env},
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(orders).encode() + b"\n")
            yield process
        finally:
            process.stdin.close()
            await ended(process, also=KILLED if die else 0)


@asynccontextmanager
async def aws_stage(say: Callable[[str], None]) -> AsyncIterator[AwsStage]:
    """All of it, started; nothing is left afterwards."""
    async with real_stage(say) as real:
        say("starting EC2, SQS and the rest of AWS on loopback")
        async with aws_beside(real) as stage:
            yield stage


@asynccontextmanager
async def aws_beside(
    real: RealStage, *, seed: int = 7, parameters: Mapping[str, Any] | None = None
) -> AsyncIterator[AwsStage]:
    """An AWS for a control plane that is there, and the nodes between them."""
    async with AsyncExitStack() as stack:
        quick = {**NODES_JOIN, **(parameters or {})}
        world = stack.enter_context(account(CLUSTER, seed=seed, parameters=quick))
        settings = settings_of(world, CLUSTER)
        follower = asyncio.create_task(
            WorldNodes(world.control, real.cluster, SystemClock()).run(), name="nodes"
        )
        stack.callback(follower.cancel)
        yield AwsStage(world=world, real=real, settings=settings)


async def calls_of(process: asyncio.subprocess.Process) -> int:
    """End a provisioner; how many calls it made that a crash could have come between."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    return int(json.loads(await process.stdout.readline())["calls"])
