"""A queue of notices as a cloud keeps it: long polls, delivered at least once, in no order.

Implements ``ports.Notices`` for simulated worlds. What goes wrong with notices is stated and drawn
from a seeded generator: lost, twice, late; two that are near each other may change places.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ..errors import Unavailable
from ..ports import Clock, Instance, Notice, NoticeKind

LONG_POLL_SECONDS = 20.0
UNSEEN_SECONDS = 20.0
"""A notice that was received and not settled comes again after so long."""
AT_ONCE = 10
NOTICE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeFaults:
    """Shares (0 to 1) of notices that are lost, come twice, or are late by up to ``late_seconds``.

    Every notice takes up to ``transit_seconds``, so those said at one time come in any order.
    """

    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    late_seconds: float = 90.0
    transit_seconds: float = 1.0


@dataclass(slots=True)
class _Message:
    notice: Notice
    visible_at: float


@dataclass(slots=True)
class SimNotices:
    """``ports.Notices``. ``down`` is an outage; ``calls`` when each call was made.

    ``on_delivery`` hears of each notice the first time that somebody receives it.
    """

    clock: Clock
    rng: random.Random
    faults: NoticeFaults = field(default_factory=NoticeFaults)
    down: bool = False
    calls: list[float] = field(default_factory=list)
    on_delivery: Callable[[Notice], None] = lambda notice: None
    _messages: dict[str, _Message] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _said: int = 0

    # --- the port ----------------------------------------------------------------------------

    async def receive(self) -> Sequence[Notice]:
        """Up to ten notices; waits for the first one as long as a long poll lasts."""
        self._called()
        until = self.clock.now() + LONG_POLL_SECONDS
        while not (found := self._visible()) and self.clock.now() < until:
            self._news.clear()
            try:
                async with asyncio.timeout(self._wait_seconds(until)):
                    await self._news.wait()
            except TimeoutError:
                continue
            self._check()
        for message in found:
            message.visible_at = self.clock.now() + UNSEEN_SECONDS
            self.on_delivery(message.notice)
        return [message.notice for message in found]

    async def settle(self, notices: Sequence[Notice]) -> None:
        """These need not come again."""
        self._called()
        for notice in notices:
            self._messages.pop(notice.receipt, None)

    # --- for the world -----------------------------------------------------------------------

    def say(self, notice: Notice) -> None:
        """The cloud says it; what becomes of it is chance."""
        if self.rng.random() < self.faults.lost:
            return
        for _ in range(2 if self.rng.random() < self.faults.twice else 1):
            late = self.rng.random() < self.faults.late
            seconds = self.rng.uniform(0.0, self.faults.late_seconds) if late else 0.0
            self._post(notice, seconds + self.rng.uniform(0.0, self.faults.transit_seconds))

    def say_of(
        self, kind: NoticeKind, instance_id: str, *, in_seconds: float | None = None
    ) -> None:
        """Say it now; ``in_seconds`` until the instance is taken."""
        now = self.clock.now()
        deadline = None if in_seconds is None else now + in_seconds
        self.say(Notice(kind=kind, instance_id=instance_id, said_at=now, deadline=deadline))

    def instance_changed(self, instance: Instance) -> None:
        """Hook for ``SimCloud.on_change``: EC2 tells of every instance that ends, ours too."""
        if instance.state in ("shutting-down", "terminated"):
            self.say_of(NoticeKind.ENDED, instance.id)

    def restored(self) -> None:
        """The outage is over."""
        self.down = False
        self._news.set()

    def _post(self, notice: Notice, in_seconds: float) -> None:
        self._said += 1
        receipt = f"receipt-{self._said}"
        at = self.clock.now() + in_seconds
        self._messages[receipt] = _Message(replace(notice, receipt=receipt), at)
        self._news.set()

    def _called(self) -> None:
        self.calls.append(self.clock.now())
        self._check()

    def _check(self) -> None:
        if self.down:
            raise Unavailable("The simulated queue is down.", reason="QueueDown")

    def _visible(self) -> list[_Message]:
        now = self.clock.now()
        found = [m for m in self._messages.values() if m.visible_at <= now]
        self.rng.shuffle(found)
        return found[:AT_ONCE]

    def _wait_seconds(self, until: float) -> float:
        """Until the next one becomes visible, or the poll is over."""
        times = [m.visible_at for m in self._messages.values()]
        return max(0.001, min([until, *times]) - self.clock.now())
