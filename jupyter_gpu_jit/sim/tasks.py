"""Background tasks with one owner, whose failures are never silent.

Every simulated part (cloud, kubelets, users) keeps its tasks here, so that closing the part
ends them all. A task that fails goes to the loop's exception handler at once: ``World`` turns
that into a failed run, a real-time demo gets it logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """A set of running tasks; finished ones leave it by themselves."""

    def __init__(self) -> None:
        # A dict and not a set: tasks are cancelled in the order they began, run after run.
        self._running: dict[asyncio.Task[None], None] = {}

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` in the background; the task is returned so that it can be cancelled."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if task.cancelled() or task.exception() is None:
            return
        task.get_loop().call_exception_handler(
            {
                "message": "A part of the simulated world failed.",
                "exception": task.exception(),
                "task": task,
            }
        )

    async def close(self) -> None:
        """Cancel all tasks and wait until they are over (except the one that calls this)."""
        tasks = [task for task in self._running if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
