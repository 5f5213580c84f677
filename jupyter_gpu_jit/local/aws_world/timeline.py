"""The world's clock and what is due when: real, faster, or moved only by hand. Used by ``world``.

``speed`` is world seconds per real second; 0 stands still until ``advance``. Whatever is due
runs under ``lock`` with the clock at exactly its due time, in order of due time and then of
planning, so that a history does not depend on how busy the machine is.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator

Deed = Callable[[], None]
_LONG_SECONDS = 3600.0


class Timeline:
    """Time and plans of one world; thread-safe."""

    def __init__(self, *, speed: float = 1.0, start: float | None = None) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._plans: list[tuple[float, int, Deed]] = []
        self._numbers = itertools.count()
        self._pinned: float | None = None
        self._closed = False
        self._speed = speed
        self._base, self._since = time.time() if start is None else start, time.monotonic()

    @property
    def speed(self) -> float:
        """World seconds per real second."""
        return self._speed

    def now(self) -> float:
        """World time, epoch seconds."""
        with self.lock:
            return self._free_now() if self._pinned is None else self._pinned

    def after(self, seconds: float, deed: Deed) -> None:
        """Do ``deed`` when so much world time has gone by."""
        with self.lock:
            due = self.now() + max(seconds, 0.0)
            heapq.heappush(self._plans, (due, next(self._numbers), deed))
            self._changed.notify_all()

    def advance(self, seconds: float) -> None:
        """Move the clock on and do all that falls due, in order, before returning."""
        with self.lock:
            target = self._free_now() + max(seconds, 0.0)
            self._run_until(target)
            self._rebase(target)

    def set_speed(self, speed: float) -> None:
        """From now on so many world seconds per real second."""
        with self.lock:
            self._rebase(self._free_now())
            self._speed = speed
            self._changed.notify_all()

    def restart(self, start: float | None = None) -> None:
        """Forget all plans; the clock begins again at ``start`` (default: real time)."""
        with self.lock:
            self._plans.clear()
            self._rebase(time.time() if start is None else start)

    def start(self) -> threading.Thread:
        """Carry out plans in a thread of its own until ``close``."""
        thread = threading.Thread(target=self._keep_running, name="timeline", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Carry out nothing more."""
        with self.lock:
            self._closed = True
            self._changed.notify_all()

    # --- inside ------------------------------------------------------------------------------

    def _free_now(self) -> float:
        return self._base + (time.monotonic() - self._since) * self._speed

    def _rebase(self, now: float) -> None:
        self._base, self._since = now, time.monotonic()

    def _run_until(self, target: float) -> None:
        while self._plans and self._plans[0][0] <= target:
            due, _, deed = heapq.heappop(self._plans)
            with self._pin(due):
                self._do(deed)

    def _do(self, deed: Deed) -> None:
        try:
            deed()
        except Exception:
            # One broken plan must not stop the clock of all others; the log says what it was.
            logging.getLogger(__name__).exception("A plan of the AWS world failed.")

    @contextlib.contextmanager
    def _pin(self, moment: float) -> Iterator[None]:
        before, self._pinned = self._pinned, moment
        try:
            yield
        finally:
            self._pinned = before

    def _keep_running(self) -> None:
        with self.lock:
            while not self._closed:
                self._run_until(self._free_now())
                self._changed.wait(self._real_seconds_to_next())

    def _real_seconds_to_next(self) -> float | None:
        if not self._plans or self._speed <= 0:
            return None
        left = (self._plans[0][0] - self._free_now()) / self._speed
        return min(max(left, 0.0), _LONG_SECONDS)
