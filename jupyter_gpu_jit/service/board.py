"""The status page's view of the cluster and its log: one refresh for everybody who looks.

While a page is open somewhere, one task looks once a second; while none is, nobody looks. Called
by the handlers of the page.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..core import decisions, overview
from ..core.decisions import Decision
from ..core.overview import Facts, Viewer
from ..errors import GpuJitError
from .lists import Lists

log = logging.getLogger(__name__)

LINES_KEPT = 1000
LINES_SHOWN = 200


class Board:
    """What is known now, and the last ``LINES_KEPT`` decisions; memory, so it may be lost."""

    def __init__(
        self, lists: Lists, *, now: Callable[[], float], refresh_seconds: float = 1.0
    ) -> None:
        self._lists, self._now = lists, now
        self._refresh_seconds = refresh_seconds
        self._facts: Facts | None = None
        self._log: deque[Decision] = deque(maxlen=LINES_KEPT)
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._looking = asyncio.Lock()
        self.trouble = ""

    @property
    def watchers(self) -> int:
        """How many pages are open."""
        return self._watchers

    async def picture(self, viewer: Viewer) -> dict[str, Any]:
        """What that viewer sees now. Raises Unavailable or Rejected of the port."""
        await self._look()
        return self.known(viewer)

    def known(self, viewer: Viewer) -> dict[str, Any]:
        """What that viewer saw at the last look that succeeded; of an empty cluster before it."""
        facts = self._facts or Facts(types={})
        log = decisions.shown(self._log, viewer)[:LINES_SHOWN]
        return {**overview.render(facts, viewer), "log": log}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep looking inside."""
        self._watchers += 1
        if self._task is None:
            self._task = asyncio.ensure_future(self._keep_looking())
        try:
            yield
        finally:
            self._watchers -= 1
            if self._task is not None and not self._watchers:
                self._task.cancel()
                self._task = None

    async def next_look(self) -> None:
        """Wait for the next look to end, well or badly (then ``trouble`` is a sentence)."""
        await self._looked.wait()

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._look()
            except GpuJitError as error:
                self.trouble = error.user_message
            except Exception:
                log.exception("the cluster was not understood")
                self.trouble = "The service failed; its log says why. It keeps trying."
            # Whoever waits now is woken; whoever comes later waits for the next look.
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(self._refresh_seconds)

    async def _look(self) -> None:
        # One at a time: a slow look must not put back what a later one has seen.
        async with self._looking:
            facts = overview.read(
                pods=await self._lists.pods(),
                nodes=await self._lists.nodes(),
                claims=await self._lists.claims(),
                instance_types=await self._lists.instance_types(),
            )
            self._log.extend(decisions.news(self._facts, facts, self._now()))
            self._facts, self.trouble = facts, ""
