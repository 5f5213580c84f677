"""An account in the AWS world as an admin would have set it up: network, cluster, role, queue.

Called by the demo and by the bench, which then only need to be told its names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.wire import DISCOVERY_TAG
from .aws_world import AwsWorld

QUEUE, PROFILE = "gpu-jit-notices", "gpu-jit-node"
# What takes EC2 minutes and nobody wants to wait for.
QUICK: Mapping[str, float] = {"boot_seconds": 0.3, "shutdown_seconds": 0.3}


@contextlib.contextmanager
def account(
    cluster: str,
    *,
    seed: int = 7,
    parameters: Mapping[str, Any] | None = None,
    log: Path | None = None,
) -> Iterator[AwsWorld]:
    """A world with that cluster in it; this process is its client meanwhile.

    Not to be entered in a thread: the world ends with the thread that started it.
    """
    with (
        AwsWorld(seed=seed, parameters={**QUICK, **(parameters or {})}, log=log) as world,
        world.inside(),
    ):
        world.control.post(
            "provision",
            queue=QUEUE,
            profile=PROFILE,
            cluster={"name": cluster},
            tags={DISCOVERY_TAG: cluster},
        )
        yield world


def settings_of(world: AwsWorld, cluster: str) -> dict[str, Any]:
    """What the adapters need to be told of it."""
    return {
        "region": world.region,
        "eks_cluster": cluster,
        "instance_profile": PROFILE,
        "queue": QUEUE,
    }
