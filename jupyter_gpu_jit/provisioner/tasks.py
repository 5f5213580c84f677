"""At most one task per key; what fails for a passing reason is tried again, later each time.

Used by runtime.py: a claim whose launch takes long must not hold up the others, and the same
claim must never be worked on twice at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from ..errors import Conflict, Rejected, TransientError
from ..ports import Clock

log = logging.getLogger(__name__)
_FIRST_SECONDS, _LAST_SECONDS, _REJECTED_SECONDS = 0.5, 30.0, 60.0
Work = Callable[[], Coroutine[Any, Any, float | None]] | Callable[[], Coroutine[Any, Any, None]]


async def together(jobs: Iterable[Awaitable[object]]) -> None:
    """Run jobs together to their ends; then raise the first failure, if any."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    failures = [r for r in results if isinstance(r, BaseException)]
    # What must not be swallowed goes first, what is merely to be tried again last.
    for failure in sorted(failures, key=lambda f: isinstance(f, TransientError)):
        raise failure


class KeyedTasks:
    """Starts work by key; ``wake_at`` is told when each key wants to be looked at again."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        clock: Clock,
        *,
        wake_at: Callable[[float], None],
    ) -> None:
        self._group = group
        self._clock = clock
        self._wake_at = wake_at
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._backoff: dict[str, tuple[float, float]] = {}

    def start(self, key: str, work: Work) -> None:
        """Begin, unless the key is busy (then once more later) or must wait after a failure."""
        if key in self._running:
            self._again.add(key)
            return
        not_before, _ = self._backoff.get(key, (0.0, 0.0))
        if self._clock.now() < not_before:
            self._wake_at(not_before)
            return
        running = self._run(key, work)
        try:
            self._running[key] = self._group.create_task(running, name=key)
        except RuntimeError:
            # The group is shutting down (our term is over): nothing new begins.
            running.close()

    def hurry(self) -> None:
        """Whatever was put off may be tried again at once."""
        self._backoff.clear()
        self._wake_at(self._clock.now())

    async def idle(self, key: str) -> None:
        """Until the key is not busy."""
        if key in self._running:
            await asyncio.wait((self._running[key],))

    async def _run(self, key: str, work: Work) -> None:
        try:
            again_at = await work()
            self._backoff.pop(key, None)
        except Conflict:
            # Somebody else changed the object; the watch brings what it is now.
            again_at = self._clock.now() + _FIRST_SECONDS
        except (TransientError, Rejected) as error:
            again_at = self._put_off(key, error)
        finally:
            self._running.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            again_at = self._clock.now()
        if again_at is not None:
            self._wake_at(again_at)

    def _put_off(self, key: str, error: TransientError | Rejected) -> float:
        _, last = self._backoff.get(key, (0.0, 0.0))
        seconds = min(max(2 * last, _FIRST_SECONDS), _LAST_SECONDS)
        if isinstance(error, Rejected):
            seconds = _REJECTED_SECONDS
            log.error("refused", extra={"key": key, "reason": error.user_message})
        else:
            log.warning("put off", extra={"key": key, "reason": error.reason})
        at = self._clock.now() + seconds
        self._backoff[key] = (at, seconds)
        return at
