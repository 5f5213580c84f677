"""Blocking calls beside the loop: at most so many at once, and an exit waits for none of them.

Used by calls.py. The pool of the standard library would be joined when the process ends, which a
long poll delays by its 20 seconds.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Runs work in daemon threads, ``most`` at once; the rest waits in order."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises. When cancelled the work goes on and keeps its place."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def done(result: T | None, error: BaseException | None) -> None:
            self._free.release()
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # T may itself allow None

        threading.Thread(target=_run, args=(work, loop, done), daemon=True, name="aws").start()
        return await future


def _run(
    work: Callable[[], T],
    loop: asyncio.AbstractEventLoop,
    done: Callable[[T | None, BaseException | None], None],
) -> None:
    result, error = None, None
    try:
        result = work()
    except BaseException as raised:
        error = raised
    if not loop.is_closed():
        loop.call_soon_threadsafe(done, result, error)
