"""Receives notices, several at a time, and settles what was acted on. Run by runtime.py.

A queue delivers again what is not settled, so a notice may be lost between any two lines here.
While the queue is away one receiver asks for all of them, later each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..errors import Rejected, TransientError
from ..ports import Clock, Notice, Notices

log = logging.getLogger(__name__)
T = TypeVar("T")
Hear = Callable[[Sequence[Notice]], Awaitable[Sequence[Notice]]]
RECEIVERS = 4
_FIRST_SECONDS, _LAST_SECONDS = 1.0, 15.0


class Listening:
    """Hands what is received to ``hear``, which returns those that need not come again."""

    def __init__(self, notices: Notices, clock: Clock, *, hear: Hear) -> None:
        self._notices = notices
        self._clock = clock
        self._hear = hear
        self._pause = 0.0
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Receive for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(RECEIVERS):
                group.create_task(self._receiver(), name=f"receiver {number}")

    async def _receiver(self) -> None:
        while True:
            received = await self._patiently(self._notices.receive)
            acted_on = await self._hear(received) if received else ()
            if acted_on:
                await self._settle(acted_on)

    async def _settle(self, acted_on: Sequence[Notice]) -> None:
        try:
            await self._notices.settle(acted_on)
        except (TransientError, Rejected) as error:
            # They come again and are known by then.
            self._put_off(error)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call's result, however often it takes."""
        while True:
            try:
                if not self._pause:
                    return await call()
                async with self._turn:
                    if self._pause:
                        await self._clock.sleep(self._pause)
                        result = await call()
                        self._pause = 0.0
                        return result
            except (TransientError, Rejected) as error:
                self._put_off(error)

    def _put_off(self, error: TransientError | Rejected) -> None:
        self._pause = min(max(2 * self._pause, _FIRST_SECONDS), _LAST_SECONDS)
        log.warning("no notices", extra={"reason": error.reason, "what": error.user_message})
