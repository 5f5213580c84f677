"""What several commands need. Called by the command modules of this package."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from ..local.plane import ClosableCluster
    from ..sim.cloud import SimCloud


def say(line: str) -> None:
    """One line for the person who called."""
    print(line, flush=True)  # noqa: T201


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run until done or until a signal asks to end; being asked to end is no failure."""

    async def ended_by_signals() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        await work()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(ended_by_signals())
    return 0


def connect(kubeconfig: str) -> ClosableCluster:
    """The adapter for that cluster, or for the one we run in. Raises UserError."""
    from ..adapters.kubernetes import KubernetesCluster

    if kubeconfig and not Path(kubeconfig).is_file():
        raise UserError(f"There is no kubeconfig file {kubeconfig}.")
    if kubeconfig:
        return KubernetesCluster.from_kubeconfig(kubeconfig)
    return KubernetesCluster.in_cluster()


def simulated_cloud(cluster_id: str, hub_id: str) -> SimCloud:
    """The only cloud of this version."""
    import random

    from ..adapters.system import RandomIds, SystemClock
    from ..catalogue import instance_types
    from ..core.wire import CLUSTER_TAG, HUB_TAG
    from ..sim.cloud import SimCloud

    tags = {CLUSTER_TAG: cluster_id, HUB_TAG: hub_id}
    return SimCloud(SystemClock(), RandomIds(), random.Random(), instance_types(), tags=tags)


def needs_extra(module: str, extra: str) -> None:
    """Raise UserError when the extra that brings ``module`` is not installed."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise UserError(
            f"This command needs the extra [{extra}]: pip install 'jupyter_gpu_jit[{extra}]'.",
            reason="ExtraMissing",
        )


def log_to_stderr() -> None:
    """Where a process of a cluster logs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
