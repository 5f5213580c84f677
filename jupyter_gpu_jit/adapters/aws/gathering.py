"""Many callers, few calls: listings are shared, and single ids become batches. Used by ec2.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from ...ports import Clock

T = TypeVar("T")
GATHERING_SECONDS = 0.02


class Shared(Generic[T]):
    """One answer for all who ask while it is waited for, but never one begun before they asked."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer. Raises what the work raises."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._do())
            return await asyncio.shield(self._running)
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _do(self) -> T:
        return await self._work()

    async def _after(self, before: asyncio.Task[T]) -> T:
        await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._work()


class Batch:
    """Ids that come within a moment of each other are worked on together."""

    def __init__(self, clock: Clock, work: Callable[[list[str]], Awaitable[None]]) -> None:
        self._clock, self._work = clock, work
        self._ids: set[str] = set()
        self._flush: asyncio.Task[None] | None = None

    async def add(self, ids: Iterable[str]) -> None:
        """Work on them, with whatever else comes. Raises what the work raises."""
        self._ids.update(ids)
        if self._flush is None:
            self._flush = asyncio.create_task(self._soon())
        await asyncio.shield(self._flush)

    async def _soon(self) -> None:
        await self._clock.sleep(GATHERING_SECONDS)
        ids, self._ids, self._flush = sorted(self._ids), set(), None
        await self._work(ids)


def chunks(ids: list[str], most: int) -> list[list[str]]:
    """The same ids in lists of at most so many."""
    return [ids[start : start + most] for start in range(0, len(ids), most)]
