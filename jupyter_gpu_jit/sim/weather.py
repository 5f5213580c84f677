"""Bad weather between the provisioner and its ports: slow answers, lost answers, refusals.

Taps for ``WorldConfig.weather``; all chance comes from the seeded generator they are given.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import Conflict, GpuJitError, Unavailable
from ..ports import Clock
from .boot import Delay
from .taps import Call, Tap


@dataclass(slots=True)
class Slow:
    """Every call takes a while on its way there and on its way back."""

    clock: Clock
    rng: random.Random
    delay: Delay = field(default=Delay(0.02, 1.0, tail_share=0.02, tail_factor=50.0))

    async def before(self, call: Call) -> None:
        """On the way there."""
        await self.clock.sleep(self.delay.draw(self.rng) / 2)

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """On the way back; the end of a watch takes no time."""
        if call.verb != "watch":
            await self.clock.sleep(self.delay.draw(self.rng) / 2)


@dataclass(slots=True)
class Flaky:
    """Some calls never arrive, of some the answer is lost; some patches meet a conflict."""

    rng: random.Random
    share: float = 0.03

    async def before(self, call: Call) -> None:
        """Raises Unavailable (nothing was done) or Conflict."""
        chance = self.rng.random()
        if chance < self.share:
            raise Unavailable("The simulated server did not answer.", reason="Timeout")
        if call.verb == "patch" and chance < 2 * self.share:
            raise Conflict("The simulated server had a newer version.")

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """Raises Unavailable although the call took effect."""
        if call.verb != "watch" and error is None and self.rng.random() < self.share:
            raise Unavailable("The simulated answer was lost.", reason="Timeout")


def slow(clock: Clock, rng: random.Random) -> Sequence[Tap]:
    """Heavy-tailed answers: median 20 ms, now and then a second and more."""
    return (Slow(clock, rng),)


def stormy(clock: Clock, rng: random.Random) -> Sequence[Tap]:
    """Slow and flaky."""
    return (Slow(clock, rng), Flaky(rng))
