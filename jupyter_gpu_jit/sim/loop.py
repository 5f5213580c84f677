"""An asyncio loop with virtual time and seeded order: one seed is one run.

The simulator, the crash enumeration and most tests run the real provisioner on it. Nothing
here reads the machine's clock or opens a socket: when no callback is ready the clock jumps to
the next timer, and ready callbacks are taken in an order drawn from the seed.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

from ..errors import Defect

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH = 1_750_000_000.0
"""Where virtual time starts, in seconds since the epoch (June 2025)."""

# Below the steps of the epoch clock (2.4e-7 s), so that a timer never fires before its time there.
_TIMER_RESOLUTION_SECONDS = 1e-8


class _SeededQueue(deque[Any]):
    """The loop's ready queue; ``popleft`` takes any of them, as the seed says."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def popleft(self) -> Any:
        """One ready callback, drawn by the seed."""
        if len(self) > 1:
            index = self._rng.randrange(len(self))
            self[0], self[index] = self[index], self[0]
        return super().popleft()


class _JumpingSelector:
    """Stands where the loop expects a selector: instead of waiting it moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """No events, ever; ``timeout`` is how far away the next timer is."""
        if timeout is None:
            raise Defect(_deadlock_message(self._loop), reason="Deadlock")
        if timeout > 0:
            self._loop.jump(timeout)
        return []

    def close(self) -> None:
        """Nothing to release."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose ``time()`` starts at 0 and moves only from timer to timer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._now = 0.0
        self._ready = _SeededQueue(random.Random(seed))
        self._selector = _JumpingSelector(self)
        self._clock_resolution = _TIMER_RESOLUTION_SECONDS

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock; called only when nothing is ready."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        target = self._now + seconds
        # The timer's own time is exact where a sum of floats may fall just short of it.
        if scheduled and abs(scheduled[0].when() - target) < _TIMER_RESOLUTION_SECONDS:
            target = scheduled[0].when()
        self._now = max(self._now, target)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Refused: a thread's timing is not part of the seed. Raises Defect."""
        raise Defect("Threads cannot run in virtual time; do this work through a port.")

    def _process_events(self, event_list: list[Any]) -> None:
        """The selector never has any."""

    def _write_to_self(self) -> None:
        """Called from signal handlers to wake a waiting selector; ours never waits."""


def _deadlock_message(loop: VirtualLoop) -> str:
    waiting = sorted(task.get_name() for task in asyncio.all_tasks(loop))
    return (
        "Virtual time stands still: no callback is ready and no timer is set (deadlock); "
        f"waiting tasks: {', '.join(waiting) or 'none'}."
    )


def run(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int) -> T:
    """Run ``main()`` to its end in virtual time; equal seeds give equal runs.

    Raises Defect (reason Deadlock) when everything waits and no timer is set.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main())


class LoopClock:
    """Clock of the running loop.

    On a virtual loop ``epoch`` is the loop's time 0; on a real one it is the moment of the first
    reading (so give it the real time).
    """

    def __init__(self, epoch: float = EPOCH) -> None:
        self._epoch = epoch
        self._origin: float | None = None
        self.now()

    def now(self) -> float:
        """Seconds since the epoch; ``epoch`` itself while no loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._epoch
        if isinstance(loop, VirtualLoop):
            return self._epoch + loop.time()
        if self._origin is None:
            self._origin = loop.time()
        return self._epoch + loop.time() - self._origin

    async def sleep(self, seconds: float) -> None:
        """Wait that long on the loop's clock."""
        await asyncio.sleep(seconds)


class CountingIds:
    """Names that count up: ``claim-00001``, ``claim-00002``; one count for all prefixes."""

    def __init__(self, start: int = 1) -> None:
        self._next = start

    def new(self, prefix: str) -> str:
        """``prefix`` (a trailing dash is not doubled) and the next number."""
        number, self._next = self._next, self._next + 1
        return f"{prefix.rstrip('-')}-{number:05d}"
